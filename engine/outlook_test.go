package engine_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// foresight is an engine whose calls to Redis are counted.
type foresight struct {
	*engine.Engine
	registry *prometheus.Registry
}

func newForesight(t *testing.T, env *harness.Env, maxAge time.Duration) foresight {
	t.Helper()
	f := foresight{registry: prometheus.NewRegistry()}
	f.Engine = startEngine(t, env.RedisURL, env.Prefix, func(cfg *engine.Config) {
		cfg.NewsMaxAge, cfg.Metrics = maxAge, f.registry
	})
	ctx, cancel := context.WithCancel(context.Background())
	listening, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		f.Listen(ctx, engine.EventHandler{Event: func(engine.Event) {}, Resync: sync.OnceFunc(func() { close(listening) })})
	}()
	<-listening
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return f
}

// asked is how many reserves Redis was asked for.
func (f foresight) asked(t *testing.T) int {
	t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "holdfast_engine_reserve_batch_size" {
			return int(family.GetMetric()[0].GetHistogram().GetSampleSum()) // of the batches' sizes
		}
	}
	t.Fatal("no such metric")
	return 0
}

// throng has many reserve the drop again and again until done, or for 20 s at
// most; each outcome goes to look.
func throng(t *testing.T, f foresight, r engine.ReserveRequest, look func(err error) (done bool)) {
	t.Helper()
	var all sync.WaitGroup
	var done atomic.Bool
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	// Few, since none of them rests: with many each is run so seldom that news
	// which has come is old again when it looks.
	for i := range 8 {
		all.Go(func() {
			r := r
			for r.User = int64(1 + i); !done.Load() && ctx.Err() == nil; {
				_, err := f.Reserve(ctx, r)
				if look(err) {
					done.Store(true)
				}
			}
		})
	}
	all.Wait()
	if !done.Load() {
		t.Error("it took longer than 20 s")
	}
}

// asksOnceForMany has many want what is sold out for a second, and says what is
// wrong with how often Redis was asked.
func (f foresight) asksOnceForMany(t *testing.T, r engine.ReserveRequest) (wrong string) {
	t.Helper()
	before := f.asked(t)
	var refused atomic.Int64
	began := time.Now()
	throng(t, f, r, func(err error) bool {
		if !errors.Is(err, engine.ErrOutOfStock) {
			t.Errorf("sold out: %v", err)
		}
		refused.Add(1)
		return time.Since(began) > time.Second
	})
	took := time.Since(began)
	asked := int64(f.asked(t) - before)
	if most := 2 + int64(took/(100*time.Millisecond)); asked > most || asked < 5 || refused.Load() < 100*asked {
		return fmt.Sprintf("Redis was asked %d times for %d refusals in %v", asked, refused.Load(), took)
	}
	return ""
}

func TestSoldOutIsAskedForTenTimesASecond(t *testing.T) {
	t.Parallel()
	for _, sized := range []bool{false, true} {
		t.Run(fmt.Sprint("sized ", sized), func(t *testing.T) {
			t.Parallel()
			f := newForesight(t, harness.New(t), 0)
			r := engine.ReserveRequest{Drop: 1, User: 1}
			if sized {
				r.Size = "42"
				open(t, f.Engine, 1, 0, sizes(engine.SizeStock{Size: "41", Stock: 1}, engine.SizeStock{Size: "42", Stock: 1}))
			} else {
				open(t, f.Engine, 1, 1)
			}
			reserve(t, f.Engine, r)
			if _, err := f.Reserve(t.Context(), r); !errors.Is(err, engine.ErrOutOfStock) {
				t.Fatal(err)
			}
			// One at a time, and each keeps for 100 ms. Who is woken later than that
			// asks anew: a machine that is too busy for a second gets another.
			var wrong string
			for range 5 {
				if wrong = f.asksOnceForMany(t, r); wrong == "" {
					break
				}
			}
			if wrong != "" {
				t.Error(wrong)
			}
			if sized { // the other is not sold out
				r.Size = "41"
				reserve(t, f.Engine, r)
			}
		})
	}
}

// TestUnitThatComesBackIsSoldAtOnce has one engine refuse on news that it may
// keep for an hour: only an event, or its own cancel, opens the drop again.
func TestUnitThatComesBackIsSoldAtOnce(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	f := newForesight(t, env, time.Hour)
	other := startEngine(t, env.RedisURL, env.Prefix)
	r := engine.ReserveRequest{Drop: 1, User: 1}
	open(t, f.Engine, 1, 1)
	last := reserve(t, f.Engine, r)
	for name, cancel := range map[string]func(context.Context, int64) (engine.Reservation, error){
		"another": other.Cancel, "the same": f.Cancel,
	} {
		if _, err := f.Reserve(t.Context(), r); !errors.Is(err, engine.ErrOutOfStock) {
			t.Fatal(err)
		}
		before := f.asked(t)
		for range 100 {
			if _, err := f.Reserve(t.Context(), r); !errors.Is(err, engine.ErrOutOfStock) {
				t.Fatal(err)
			}
		}
		if after := f.asked(t); after != before {
			t.Errorf("Redis was asked %d times", after-before)
		}
		if _, err := cancel(t.Context(), last.ID); err != nil {
			t.Fatal(err)
		}
		if name == "the same" { // no event is waited for
			last = reserve(t, f.Engine, r)
			continue
		}
		harness.Eventually(t, 10*time.Second, func() (err error) {
			last, err = f.Reserve(t.Context(), r)
			return err
		})
	}
}

// TestStartIsNotMissed has many wait for a drop to start, with news that may be
// kept for an hour. By Redis's clock nobody is refused from the start on.
func TestStartIsNotMissed(t *testing.T) {
	t.Parallel()
	f := newForesight(t, harness.New(t), time.Hour)
	now, err := f.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	start := now.Add(700 * time.Millisecond).Truncate(time.Millisecond)
	open(t, f.Engine, 1, 1000, func(d *engine.Drop) { d.Start = start })
	var early atomic.Int64
	throng(t, f, engine.ReserveRequest{Drop: 1}, func(err error) bool {
		switch {
		case errors.Is(err, engine.ErrNotStarted):
			early.Add(1)
			return false
		case err != nil:
			t.Errorf("before the start: %v", err)
		}
		return true
	})
	requests := f.asked(t)
	if early.Load() < 1000 || requests > 500 {
		t.Errorf("%d refused before the start, Redis was asked %d times", early.Load(), requests)
	}
	for range 100 {
		if now, err = f.Now(t.Context()); err != nil || now.Before(start) {
			t.Fatalf("sold at %v, starts %v: %v", now, start, err)
		}
		reserve(t, f.Engine, engine.ReserveRequest{Drop: 1, User: 1})
	}
}

func TestEndedIsRefusedEarly(t *testing.T) {
	t.Parallel()
	f := newForesight(t, harness.New(t), 0)
	now, err := f.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	open(t, f.Engine, 1, 1_000_000, func(d *engine.Drop) { d.End = now.Add(300 * time.Millisecond) })
	var ended atomic.Int64
	throng(t, f, engine.ReserveRequest{Drop: 1}, func(err error) bool {
		if err != nil && !errors.Is(err, engine.ErrEnded) {
			t.Errorf("reserve: %v", err)
		}
		return err != nil && ended.Add(1) > 5000
	})
	after, err := f.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if requests := f.asked(t); requests < 10 || after.Before(now.Add(300*time.Millisecond)) {
		t.Errorf("asked %d times, ended at %v", requests, after)
	}
}

// TestKeyIsNeverRefusedEarly has a sold-out drop answer a repeat with the hold
// that its key got.
func TestKeyIsNeverRefusedEarly(t *testing.T) {
	t.Parallel()
	f := newForesight(t, harness.New(t), time.Hour)
	open(t, f.Engine, 1, 1)
	r := engine.ReserveRequest{Drop: 1, User: 1, Key: "mine"}
	first := reserve(t, f.Engine, r)
	if _, err := f.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 2}); !errors.Is(err, engine.ErrOutOfStock) {
		t.Fatal(err)
	}
	if again := reserve(t, f.Engine, r); again.ID != first.ID || !again.Replayed {
		t.Errorf("the repeat got %+v, want %+v", again, first)
	}
}

// TestReopenedDropIsSold opens a drop with stock under an engine that knows it
// as sold out.
func TestReopenedDropIsSold(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	f := newForesight(t, env, time.Hour)
	d := open(t, f.Engine, 1, 1)
	reserve(t, f.Engine, engine.ReserveRequest{Drop: 1, User: 1})
	if _, err := f.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 1}); !errors.Is(err, engine.ErrOutOfStock) {
		t.Fatal(err)
	}
	if err := env.Redis().Del(t.Context(), keyPrefix(env, 1)+"drop:1").Err(); err != nil {
		t.Fatal(err)
	}
	d.FirstSeq = 100
	if err := startEngine(t, env.RedisURL, env.Prefix).Open(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 10*time.Second, func() error {
		_, err := f.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 1})
		return err
	})
}
