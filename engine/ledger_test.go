package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

func TestLedgerInfoIsOfAllPartitions(t *testing.T) {
	t.Parallel()
	e, env := newEngine(t)
	info := func() engine.LedgerInfo {
		t.Helper()
		i, err := e.LedgerInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	if none := info(); none != (engine.LedgerInfo{}) {
		t.Errorf("without entries: %+v", none)
	}

	// The oldest entry is neither in the first partition nor in the last.
	var ends []engine.End
	for _, drop := range []int64{5, 15, 1, 5} {
		if len(ends) == 0 || drop != 5 {
			open(t, e, drop, 5)
		}
		end, err := e.Cancel(t.Context(), reserve(t, e, engine.ReserveRequest{Drop: drop, User: 1}).ID)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
		harness.Eventually(t, time.Second, func() error { // so that no two are of one millisecond
			now, err := e.Now(t.Context())
			if err == nil && !now.After(end.Ended.Add(time.Millisecond)) {
				err = fmt.Errorf("still %v", now)
			}
			return err
		})
	}
	ledger := e.Ledger(env.Redis(), "test")
	for _, p := range []int{0, 5, 15} {
		if err := ledger.DeadLetter(t.Context(), p, "1-1", "record", "reason"); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := info(), (engine.LedgerInfo{Length: 4, Oldest: ends[0].Ended, Dead: 3}); got != want {
		t.Errorf("of all: %+v, want %+v", got, want)
	}
	for p, want := range map[int]engine.LedgerInfo{
		0:  {Dead: 1},
		1:  {Length: 1, Oldest: ends[2].Ended},
		5:  {Length: 2, Oldest: ends[0].Ended, Dead: 1},
		15: {Length: 1, Oldest: ends[1].Ended, Dead: 1},
	} {
		if got, err := ledger.Info(t.Context(), p); err != nil || got != want {
			t.Errorf("of partition %d: %+v, %v; want %+v", p, got, err, want)
		}
	}

	for _, p := range []int{5, 15, 1} { // the oldest of each, which is all but one
		entries, err := ledger.Read(t.Context(), p, 1, 0)
		if err != nil || len(entries) != 1 {
			t.Fatalf("entries %+v, %v", entries, err)
		}
		if err := ledger.Done(t.Context(), p, []string{entries[0].ID}); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := info(), (engine.LedgerInfo{Length: 1, Oldest: ends[3].Ended, Dead: 3}); got != want {
		t.Errorf("when three are done: %+v, want %+v", got, want)
	}
}
