package engine_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

func redisZ(score float64, member string) redis.Z { return redis.Z{Score: score, Member: member} }

// listen hears the engine's events from now until the test's end.
func listen(t *testing.T, e *engine.Engine) <-chan engine.Event {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan engine.Event, 100)
	subscribed := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		e.Listen(ctx, engine.EventHandler{
			Event:  func(ev engine.Event) { events <- ev },
			Resync: func() { subscribed <- struct{}{} },
		})
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	<-subscribed
	return events
}

func TestEventsTellEveryChange(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	events := listen(t, e)

	open(t, e, 3, 4, hold(engine.MinHold), sizes(engine.SizeStock{Size: "S", Stock: 2}, engine.SizeStock{Size: "M", Stock: 2}))
	a := reserve(t, e, engine.ReserveRequest{Drop: 3, User: 9007199254740991, Size: "S"})
	b := reserve(t, e, engine.ReserveRequest{Drop: 3, User: 2, Size: "M"})
	reserve(t, e, engine.ReserveRequest{Drop: 3, User: 3, Size: "M"})
	if _, err := e.Purchase(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Cancel(t.Context(), b.ID); err != nil {
		t.Fatal(err)
	}
	runExpirer(t, e, engine.ExpirerConfig{})

	want := []struct {
		reason engine.Reason
		counts engine.SizeCount
	}{
		{engine.ReasonOpened, engine.SizeCount{}},
		{engine.ReasonReserved, engine.SizeCount{Size: "S", Total: 2, Available: 1, Held: 1}},
		{engine.ReasonReserved, engine.SizeCount{Size: "M", Total: 2, Available: 1, Held: 1}},
		{engine.ReasonReserved, engine.SizeCount{Size: "M", Total: 2, Available: 0, Held: 2}},
		{engine.ReasonPurchased, engine.SizeCount{Size: "S", Total: 2, Available: 1, Sold: 1}},
		{engine.ReasonCancelled, engine.SizeCount{Size: "M", Total: 2, Available: 1, Held: 1}},
		{engine.ReasonExpired, engine.SizeCount{Size: "M", Total: 2, Available: 2}},
	}
	for i, w := range want {
		select {
		case ev := <-events:
			if ev.Drop != 3 || ev.Version != int64(i+1) || ev.Reason != w.reason {
				t.Fatalf("event %d: %+v, want %s", i, ev, w.reason)
			}
			if i > 0 && (len(ev.Sizes) != 1 || ev.Sizes[0] != w.counts) {
				t.Fatalf("event %d counts %+v, want %+v", i, ev.Sizes, w.counts)
			}
			if w.reason == engine.ReasonPurchased &&
				(len(ev.Purchases) != 1 || ev.Purchases[0] != engine.Sale{Reservation: a.ID, User: 9007199254740991}) {
				t.Fatalf("purchases %+v", ev.Purchases)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no event %d (%s)", i, w.reason)
		}
	}
}

func TestEventTellsHowLateHoldsCameBack(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	now := func() time.Time {
		t.Helper()
		at, err := e.Now(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	events := listen(t, e)
	deadlines := map[int64]time.Time{}    // of each drop's oldest hold
	for _, drop := range []int64{1, 17} { // of one partition, so that one call releases all
		open(t, e, drop, 5, hold(engine.MinHold))
		for range 2 {
			r := reserve(t, e, engine.ReserveRequest{Drop: drop, User: 1})
			if deadlines[drop].IsZero() {
				deadlines[drop] = r.Deadline
			}
			harness.Eventually(t, time.Second, func() error {
				if at := now(); at.Sub(r.Created) < 20*time.Millisecond {
					return fmt.Errorf("still %v", at)
				}
				return nil
			})
		}
	}
	overdueIs(t, e, 17, 2)
	from := now()
	runExpirer(t, e, engine.ExpirerConfig{})

	late := map[int64]time.Duration{}
	for len(late) < 2 {
		select {
		case ev := <-events:
			if ev.Reason == engine.ReasonExpired {
				late[ev.Drop] = ev.Late
			} else if ev.Late != 0 {
				t.Errorf("event %+v is late", ev)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("lapsed holds are not told")
		}
	}
	to := now()
	for drop, deadline := range deadlines {
		least, most := from.Sub(deadline).Truncate(time.Millisecond), to.Sub(deadline)
		if late[drop] < least || late[drop] > most {
			t.Errorf("drop %d is late by %v, want %v … %v", drop, late[drop], least, most)
		}
	}
	if got, want := late[1]-late[17], deadlines[17].Sub(deadlines[1]); got != want {
		t.Errorf("drop 1 is later than drop 17 by %v, want %v", got, want)
	}
}
