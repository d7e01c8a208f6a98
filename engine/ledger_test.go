package engine_test

import (
	"fmt"
	"strconv"
	"strings"
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
	client := env.Redis()
	written := make([]time.Time, 0, 4)
	for i, drop := range []int64{5, 15, 1, 5} {
		if i < 3 {
			open(t, e, drop, 5)
		}
		if _, err := e.Cancel(t.Context(), reserve(t, e, engine.ReserveRequest{Drop: drop, User: 1}).ID); err != nil {
			t.Fatal(err)
		}
		entries, err := client.XRevRangeN(t.Context(), keyPrefix(env, drop)+"ledger", "+", "-", 1).Result()
		if err != nil || len(entries) != 1 {
			t.Fatalf("entries %v, %v", entries, err)
		}
		ms, err := strconv.ParseInt(strings.TrimSuffix(entries[0].ID, "-0"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		at := time.UnixMilli(ms).UTC()
		written = append(written, at)
		harness.Eventually(t, time.Second, func() error { // so that no two are of one millisecond
			now, err := e.Now(t.Context())
			if err == nil && !now.After(at.Add(2*time.Millisecond)) {
				err = fmt.Errorf("still %v", now)
			}
			return err
		})
	}
	ledger := e.Ledger(client, "test")
	for _, p := range []int{0, 5, 15} {
		if err := ledger.DeadLetter(t.Context(), p, "1-1", "record", "reason"); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := info(), (engine.LedgerInfo{Length: 4, Oldest: written[0], Dead: 3}); got != want {
		t.Errorf("of all: %+v, want %+v", got, want)
	}
	each, err := ledger.Info(t.Context())
	if err != nil || len(each) != e.Partitions() {
		t.Fatalf("of each: %+v, %v", each, err)
	}
	for p, want := range map[int]engine.LedgerInfo{
		0:  {Dead: 1},
		1:  {Length: 1, Oldest: written[2]},
		5:  {Length: 2, Oldest: written[0], Dead: 1},
		15: {Length: 1, Oldest: written[1], Dead: 1},
	} {
		if got := each[p]; got != want {
			t.Errorf("of partition %d: %+v, want %+v", p, got, want)
		}
	}

	for _, p := range []int{5, 15, 1} { // the oldest of each, which is all but one
		entries, err := ledger.Read(t.Context(), p, 1, 0)
		if err != nil || len(entries) != 1 {
			t.Fatalf("entries %+v, %v", entries, err)
		}
		if err := ledger.Done(t.Context(), p, e.Epoch(p), []string{entries[0].ID}); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := info(), (engine.LedgerInfo{Length: 1, Oldest: written[3], Dead: 3}); got != want {
		t.Errorf("when three are done: %+v, want %+v", got, want)
	}
}
