package engine_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// Drops 1, 17 and 33 share the second of the 16 partitions.

func holds(t testing.TB, e *engine.Engine, drop int64, most int) []engine.Reservation {
	t.Helper()
	list, err := e.Holds(t.Context(), drop, most)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// overdueIs waits until as many holds of the drop have lapsed and are not back.
func overdueIs(t testing.TB, e *engine.Engine, drop int64, want int) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, func() error {
		n, err := e.Overdue(t.Context(), drop)
		if err == nil && n != want {
			err = fmt.Errorf("%d overdue holds of drop %d, want %d", n, drop, want)
		}
		return err
	})
}

func TestHoldsAreThoseOfTheDrop(t *testing.T) {
	t.Parallel()
	const others = 2300 // more than two pages, and all due before those of drop 1
	e, env := newEngine(t)
	open(t, e, 1, 30)
	open(t, e, 17, others, hold(50*time.Second))
	open(t, e, 33, 1)
	fill(t, e, 17, others)
	made := fill(t, e, 1, 25)
	sized := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 9007199254740991, Size: "US 9:½"})
	made = append(made, sized)
	// Neither is a hold of drop 1, though the one begins like it.
	for _, member := range []string{"1:x:1:1:2:", "nonsense"} {
		env.Redis().ZAdd(t.Context(), keyPrefix(env, 1)+"deadlines", redisZ(float64(time.Now().Add(time.Hour).UnixMilli()), member))
	}

	got := holds(t, e, 1, 1000)
	if !slices.IsSortedFunc(got, func(a, b engine.Reservation) int { return a.Deadline.Compare(b.Deadline) }) {
		t.Errorf("not by deadline: %+v", got)
	}
	byID := func(a, b engine.Reservation) int { return int(a.ID - b.ID) }
	slices.SortFunc(made, byID)
	if all := slices.SortedFunc(slices.Values(got), byID); !slices.Equal(all, made) {
		t.Errorf("holds %+v\nwant %+v", all, made)
	}
	if some := holds(t, e, 1, 7); !slices.Equal(some, got[:7]) {
		t.Errorf("at most 7: %+v\nwant %+v", some, got[:7])
	}
	for most, want := range map[int]int{1: 1, 1001: 1001, others: others, others + 1: others} {
		ids := map[int64]bool{}
		for _, r := range holds(t, e, 17, most) {
			if r.Drop != 17 {
				t.Fatalf("hold %+v is listed as one of drop 17", r)
			}
			ids[r.ID] = true
		}
		if len(ids) != want {
			t.Errorf("%d holds where at most %d are asked for, want %d", len(ids), most, want)
		}
	}
	if none := holds(t, e, 33, 10); len(none) != 0 {
		t.Errorf("drop 33 has holds %+v", none)
	}

	if _, err := e.Purchase(t.Context(), got[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Cancel(t.Context(), got[1].ID); err != nil {
		t.Fatal(err)
	}
	if left := holds(t, e, 1, 1000); !slices.Equal(left, got[2:]) {
		t.Errorf("after two ended: %+v\nwant %+v", left, got[2:])
	}
}

func TestOverdueHoldsAreCountedAndNotListed(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	open(t, e, 1, 5, hold(engine.MinHold))
	open(t, e, 17, 5, hold(engine.MinHold))
	open(t, e, 33, 5)
	fill(t, e, 1, 3)
	fill(t, e, 17, 2)
	fill(t, e, 33, 1)
	overdueIs(t, e, 1, 3)
	overdueIs(t, e, 17, 2)
	overdueIs(t, e, 33, 0)
	for drop, want := range map[int64]int{1: 0, 17: 0, 33: 1} {
		if list := holds(t, e, drop, 10); len(list) != want {
			t.Errorf("drop %d has holds %+v, want %d", drop, list, want)
		}
	}
	runExpirer(t, e, engine.ExpirerConfig{})
	overdueIs(t, e, 1, 0)
	overdueIs(t, e, 17, 0)
	wantStock(t, e, 33, 4, 1, 0)
}

// TestHoldsLookThroughSoManyOthers: a drop must not have a partition's holds
// read without an end.
func TestHoldsLookThroughSoManyOthers(t *testing.T) {
	t.Parallel()
	const scan = 50_000
	e, env := newEngine(t)
	open(t, e, 1, 5)
	open(t, e, 2, 5, hold(engine.MinHold))
	fill(t, e, 1, 1)
	fill(t, e, 2, 1)
	overdueIs(t, e, 2, 1)
	soon, past := float64(time.Now().Add(30*time.Second).UnixMilli()), 1.0
	client := env.Redis()
	for key, others := range map[string]struct {
		drop     int
		deadline float64
	}{
		keyPrefix(env, 1) + "deadlines": {17, soon}, keyPrefix(env, 2) + "deadlines": {18, past},
	} {
		for first := 1; first <= scan; first += 1000 {
			members := make([]redis.Z, 1000)
			for i := range members {
				members[i] = redisZ(others.deadline, fmt.Sprintf("%d:%d:1:1:%.0f:", others.drop, first+i, others.deadline))
			}
			if err := client.ZAdd(t.Context(), key, members...).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if list := holds(t, e, 1, 10); len(list) != 0 {
		t.Errorf("found %+v beyond %d others", list, scan)
	}
	overdueIs(t, e, 2, 0)
	client.ZPopMin(t.Context(), keyPrefix(env, 1)+"deadlines")
	client.ZPopMin(t.Context(), keyPrefix(env, 2)+"deadlines")
	if list := holds(t, e, 1, 10); len(list) != 1 {
		t.Errorf("found %+v behind %d others, want one hold", list, scan-1)
	}
	overdueIs(t, e, 2, 1)
}

func TestHoldsOfUnknownDrops(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	for _, drop := range []int64{-1, 0, engine.MaxDropID + 1} {
		_, err := e.Holds(t.Context(), drop, 10)
		wantErr(t, err, engine.ErrDropNotFound)
		_, err = e.Overdue(t.Context(), drop)
		wantErr(t, err, engine.ErrDropNotFound)
	}
	if list := holds(t, e, 99, 10); len(list) != 0 {
		t.Errorf("a drop that is not open has holds %+v", list)
	}
	overdueIs(t, e, 99, 0)
}
