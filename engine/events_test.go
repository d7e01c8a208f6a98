package engine_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
)

func redisZ(score float64, member string) redis.Z { return redis.Z{Score: score, Member: member} }

func TestEventsTellEveryChange(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
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
	defer wg.Wait()
	defer cancel()
	<-subscribed

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
