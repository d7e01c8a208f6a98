package engine_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

func change(t testing.TB, e *engine.Engine, drop int64, c engine.Change) engine.Decision {
	t.Helper()
	d, err := e.Change(t.Context(), drop, c)
	if err != nil {
		t.Fatalf("change %+v: %v", c, err)
	}
	return d
}

// made fails unless the change was made.
func made(t testing.TB, e *engine.Engine, drop int64, c engine.Change) engine.Decision {
	t.Helper()
	d := change(t, e, drop, c)
	if d.Refusal != nil || d.Known {
		t.Fatalf("change %+v: %+v", c, d)
	}
	return d
}

func totals(s ...engine.SizeStock) []engine.SizeStock { return s }

func ptr[T any](v T) *T { return &v }

func TestStockIsAddedAndTakenAway(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	open(t, e, 1, 0, sizes(engine.SizeStock{Size: "S", Stock: 3}, engine.SizeStock{Size: "M", Stock: 2}))
	first := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1, Size: "S"})
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 2, Size: "S"})
	if _, err := e.Purchase(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	before := stock(t, e, 1)
	d := made(t, e, 1, engine.Change{Number: 1, Totals: totals(engine.SizeStock{Size: "S", Stock: 2}, engine.SizeStock{Size: "M", Stock: 7})})
	if len(d.Totals) != 2 || d.Totals[0].Stock != 2 || d.Totals[1].Stock != 7 || d.Version != before.Version+1 {
		t.Errorf("%+v after %+v", d, before)
	}
	wantStock(t, e, 1, 7, 1, 1)

	// Of S one is held and one is sold: not one more can go, and nothing of the change is made.
	d = change(t, e, 1, engine.Change{Number: 2, State: engine.StatePaused, Totals: totals(
		engine.SizeStock{Size: "M", Stock: 9}, engine.SizeStock{Size: "S", Stock: 1})})
	wantErr(t, d.Refusal, engine.ErrNotEnough)
	d = change(t, e, 1, engine.Change{Number: 3, Totals: totals(engine.SizeStock{Size: "XL", Stock: 1})})
	wantErr(t, d.Refusal, engine.ErrUnknownSize)
	s := stock(t, e, 1)
	if s.State != engine.StateOpen || s.Version != before.Version+1 || s.Change != 3 {
		t.Errorf("%+v", s)
	}
	wantStock(t, e, 1, 7, 1, 1)
	_, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 3, Size: "S"})
	wantErr(t, err, engine.ErrOutOfStock)
}

func TestChangeIsDecidedOnce(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	open(t, e, 1, 2)
	hold := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
	take := engine.Change{Number: 1, Totals: totals(engine.SizeStock{Stock: 0})}
	wantErr(t, change(t, e, 1, take).Refusal, engine.ErrNotEnough)
	if _, err := e.Cancel(t.Context(), hold.ID); err != nil {
		t.Fatal(err)
	}
	d := change(t, e, 1, take) // now it could be made
	wantErr(t, d.Refusal, engine.ErrNotEnough)
	if !d.Known {
		t.Error("a refusal that is sent again counts as new")
	}
	add := engine.Change{Number: 2, Totals: totals(engine.SizeStock{Stock: 5})}
	version := made(t, e, 1, add).Version
	if d := change(t, e, 1, add); !d.Known || d.Refusal != nil || d.Version != version {
		t.Errorf("sent again: %+v", d)
	}
	made(t, e, 1, engine.Change{Number: 3, Mark: "a", Totals: totals(engine.SizeStock{Stock: 4})})
	_, err := e.Change(t.Context(), 1, add) // on its way for long
	wantErr(t, err, engine.ErrOvertaken)
	_, err = e.Change(t.Context(), 1, engine.Change{Number: 3, Mark: "b", State: engine.StateEnded}) // another one
	wantErr(t, err, engine.ErrOvertaken)
	if d := change(t, e, 1, engine.Change{Number: 3, Mark: "a", State: engine.StateEnded}); !d.Known || d.Refusal != nil {
		t.Errorf("sent again with its mark: %+v", d)
	}
	wantStock(t, e, 1, 4, 0, 0)
	_, err = e.Change(t.Context(), 2, add)
	wantErr(t, err, engine.ErrDropNotFound)
	for _, c := range []engine.Change{
		{}, {Number: 4, State: "odd"}, {Number: 4, Limit: ptr(int64(0))},
		{Number: 4, Totals: totals(engine.SizeStock{Stock: -1})}, {Number: 4, Totals: totals(engine.SizeStock{Stock: engine.MaxStock + 1})},
	} {
		_, err := e.Change(t.Context(), 1, c)
		wantErr(t, err, engine.ErrInvalid)
	}
}

func TestPauseResumeEnd(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	open(t, e, 1, 5)
	hold := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
	other := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
	made(t, e, 1, engine.Change{Number: 1, State: engine.StatePaused})
	_, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 2})
	wantErr(t, err, engine.ErrPaused)
	if _, err := e.Purchase(t.Context(), hold.ID); err != nil {
		t.Errorf("a held unit cannot be bought while paused: %v", err)
	}
	made(t, e, 1, engine.Change{Number: 2, State: engine.StateOpen})
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 2})
	made(t, e, 1, engine.Change{Number: 3, State: engine.StateEnded})
	_, err = e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 2})
	wantErr(t, err, engine.ErrEnded)
	if _, err := e.Purchase(t.Context(), other.ID); err != nil {
		t.Errorf("a held unit cannot be bought once ended: %v", err)
	}
	for i, c := range []engine.Change{
		{State: engine.StateOpen}, {End: &time.Time{}}, {Totals: totals(engine.SizeStock{Stock: 9})}, {Limit: ptr(int64(1))},
	} {
		c.Number = int64(4 + i)
		wantErr(t, change(t, e, 1, c).Refusal, engine.ErrEnded)
	}
	wantStock(t, e, 1, 2, 1, 2)
	// One whose time is over has ended, too.
	open(t, e, 2, 5, func(d *engine.Drop) { d.End = time.Now().Add(-time.Second) })
	wantErr(t, change(t, e, 2, engine.Change{Number: 1, End: ptr(time.Now().Add(time.Hour))}).Refusal, engine.ErrEnded)
}

func TestTimesAreMoved(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	start := time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
	open(t, e, 1, 5, func(d *engine.Drop) { d.Start = start })
	_, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 1})
	wantErr(t, err, engine.ErrNotStarted)
	wantErr(t, change(t, e, 1, engine.Change{Number: 1, End: ptr(start)}).Refusal, engine.ErrBadTimes)
	end := start.Add(time.Hour)
	if d := made(t, e, 1, engine.Change{Number: 2, End: &end, BeforeStart: true}); !d.End.Equal(end) || !d.Start.Equal(start) {
		t.Errorf("%+v", d)
	}
	wantErr(t, change(t, e, 1, engine.Change{Number: 3, Start: &end}).Refusal, engine.ErrBadTimes)
	made(t, e, 1, engine.Change{Number: 4, Start: ptr(time.Now().Add(-time.Second))})
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
	wantErr(t, change(t, e, 1, engine.Change{Number: 5, Start: &start}).Refusal, engine.ErrAlreadyStarted)
	wantErr(t, change(t, e, 1, engine.Change{Number: 6, BeforeStart: true}).Refusal, engine.ErrAlreadyStarted)
	wantErr(t, change(t, e, 1, engine.Change{Number: 7, End: ptr(time.Now().Add(-time.Millisecond))}).Refusal, engine.ErrBadTimes)
	if d := made(t, e, 1, engine.Change{Number: 8, End: &time.Time{}}); !d.End.IsZero() {
		t.Errorf("%+v", d)
	}
}

func TestLimitIsChanged(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	open(t, e, 1, 9, limit(1))
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
	made(t, e, 1, engine.Change{Number: 1, Limit: ptr(int64(engine.NoLimit))})
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
	second := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 2})
	made(t, e, 1, engine.Change{Number: 2, Limit: ptr(int64(2))}) // what was taken meanwhile counts
	_, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 1})
	wantErr(t, err, engine.ErrLimitReached)
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 2})
	if _, err := e.Cancel(t.Context(), second.ID); err != nil {
		t.Fatal(err)
	}
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 2})

	open(t, e, 2, 9)
	made(t, e, 2, engine.Change{Number: 1, Limit: ptr(int64(1))})
	open(t, e, 3, 9)
	reserve(t, e, engine.ReserveRequest{Drop: 3, User: 1})
	wantErr(t, change(t, e, 3, engine.Change{Number: 1, Limit: ptr(int64(1))}).Refusal, engine.ErrNotCounted)
}

// TestChangeIsNotRefusedEarly changes a drop at one engine, of which another one
// refuses early: it must sell as soon as it has heard.
func TestChangeIsNotRefusedEarly(t *testing.T) { //nolint:tparallel // its parts count the same calls
	t.Parallel()
	env := harness.New(t)
	const never = time.Hour // news keep, unless something newer is heard
	here := newForesight(t, env, never)
	other := startEngine(t, env.RedisURL, env.Prefix)
	for drop, x := range map[int64]struct {
		refusal error
		changes []engine.Change // the last one lets people in
		drop    func(*engine.Drop)
	}{
		1: {engine.ErrPaused, []engine.Change{{State: engine.StatePaused}, {State: engine.StateOpen}}, hold(time.Minute)},
		2: {engine.ErrOutOfStock, []engine.Change{
			{Totals: totals(engine.SizeStock{Stock: 0})}, {Totals: totals(engine.SizeStock{Stock: 1000})},
		}, hold(time.Minute)},
		3: {engine.ErrNotStarted, []engine.Change{{Start: ptr(time.Now().Add(-time.Second))}},
			func(d *engine.Drop) { d.Start = time.Now().Add(time.Hour) }},
	} {
		t.Run(x.refusal.Error(), func(t *testing.T) {
			open(t, other, drop, 1000, x.drop)
			last := len(x.changes) - 1
			for i, c := range x.changes[:last] {
				c.Number = int64(i + 1)
				made(t, other, drop, c)
			}
			request := engine.ReserveRequest{Drop: drop, User: 1}
			before := here.asked(t)
			for range 100 {
				_, err := here.Reserve(t.Context(), request)
				wantErr(t, err, x.refusal)
			}
			if asked := here.asked(t) - before; asked > 50 {
				t.Errorf("Redis was asked %d times for 100 refusals: nothing is refused early here", asked)
			}
			c := x.changes[last]
			c.Number = int64(last + 1)
			made(t, other, drop, c)
			changed := time.Now()
			harness.Eventually(t, 10*time.Second, func() error {
				_, err := here.Reserve(t.Context(), request)
				if err != nil && !errors.Is(err, x.refusal) {
					t.Fatal(err)
				}
				return err
			})
			t.Logf("sold %v after the change", time.Since(changed).Round(time.Millisecond))
		})
	}
}

func TestChangeIsTold(t *testing.T) {
	t.Parallel()
	e, env := newEngine(t)
	other := startEngine(t, env.RedisURL, env.Prefix)
	events := listen(t, other)
	open(t, e, 1, 5)
	d := made(t, e, 1, engine.Change{Number: 1, State: engine.StatePaused, Totals: totals(engine.SizeStock{Stock: 8})})
	if err := e.Tell(t.Context(), 1, d.Version, d.At); err != nil {
		t.Fatal(err)
	}
	var got []engine.Event
	for len(got) < 2 {
		select {
		case ev := <-events:
			if ev.Reason == engine.ReasonChanged {
				got = append(got, ev)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no event")
		}
	}
	first, second := got[0], got[1]
	if first.State != engine.StatePaused || first.Version != d.Version || len(first.Sizes) != 1 || first.Sizes[0].Available != 8 {
		t.Errorf("%+v", first)
	}
	if second.Version != d.Version || second.State != "" || len(second.Sizes) != 0 {
		t.Errorf("%+v", second)
	}
	if s := fmt.Sprint(stock(t, e, 1).State); s != "paused" {
		t.Errorf("state %s", s)
	}
}
