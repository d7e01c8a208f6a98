package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// rush is a sale that goes on until it is stopped: buyers reserve units of the
// drops and purchase or cancel them, while a watcher looks for a moment at
// which a drop's counts do not add up.
type rush struct {
	e     *engine.Engine
	drops []int64

	stopIt func()
	sales  []atomic.Int64 // acknowledged purchases, by place in drops
	failed atomic.Int64   // calls that were unavailable

	mu        sync.Mutex
	purchased map[int64]bool // acknowledged
}

func startRush(t testing.TB, e *engine.Engine, buyers int, drops ...int64) *rush {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &rush{e: e, drops: drops, sales: make([]atomic.Int64, len(drops)), purchased: map[int64]bool{}}
	var wg sync.WaitGroup
	for b := range buyers {
		wg.Go(func() {
			for n := b; ctx.Err() == nil; n++ {
				r.buy(ctx, t, n%len(drops), int64(1+n), n%7 == 3)
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			r.watch(ctx, t)
		}
	})
	var once sync.Once
	r.stopIt = func() { once.Do(func() { cancel(); wg.Wait() }) }
	t.Cleanup(r.stopIt)
	return r
}

// buy is one person's visit.
func (r *rush) buy(ctx context.Context, t testing.TB, at int, user int64, cancels bool) {
	t.Helper()
	rest := func() { // no storm of refusals
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	defer rest()
	call := context.WithoutCancel(ctx) // what has begun ends before stop returns
	bad := func(what string, err error) {
		if errors.Is(err, engine.ErrUnavailable) || errors.Is(err, engine.ErrOverloaded) || errors.Is(err, engine.ErrFenced) {
			r.failed.Add(1)
			return
		}
		t.Errorf("drop %d: %s: %v", r.drops[at], what, err)
	}
	res, err := r.e.Reserve(call, engine.ReserveRequest{Drop: r.drops[at], User: user, Key: strconv.FormatInt(user, 10)})
	if err != nil {
		bad("reserve", err)
		return
	}
	if cancels {
		if _, err := r.e.Cancel(call, res.ID); err != nil && !errors.Is(err, engine.ErrReservationNotFound) {
			bad("cancel", err)
		}
		return
	}
	switch _, err := r.e.Purchase(call, res.ID); {
	case err == nil:
		r.sales[at].Add(1)
		r.mu.Lock()
		r.purchased[res.ID] = true
		r.mu.Unlock()
	case errors.Is(err, engine.ErrReservationNotFound), errors.Is(err, engine.ErrExpired), errors.Is(err, engine.ErrCancelled):
		// A fail-over may have lost the hold.
	default:
		bad("purchase", err)
	}
}

func (r *rush) watch(ctx context.Context, t testing.TB) {
	t.Helper()
	all, err := r.e.Stock(ctx, r.drops)
	if err != nil {
		return // unavailable for the moment
	}
	for i, s := range all {
		if s == nil {
			continue // on its way from one master to another it may be seen on neither
		}
		for _, c := range s.Sizes {
			if c.Available+c.Held+c.Sold != c.Total || min(c.Available, c.Held, c.Sold) < 0 {
				t.Errorf("drop %d: conservation broken: %+v", r.drops[i], c)
			}
		}
	}
}

func (r *rush) stop() { r.stopIt() }

func (r *rush) sold() (n int64) {
	for i := range r.sales {
		n += r.sales[i].Load()
	}
	return n
}

// sellsOn waits until each drop has sold n more units.
func (r *rush) sellsOn(t testing.TB, within time.Duration, n int64) {
	t.Helper()
	r.sellsOnOf(t, within, n, func(int64) bool { return true })
}

// sellsOnOf waits until each of those drops has sold n more units.
func (r *rush) sellsOnOf(t testing.TB, within time.Duration, n int64, which func(drop int64) bool) {
	t.Helper()
	before := make([]int64, len(r.drops))
	for i := range before {
		before[i] = r.sales[i].Load()
	}
	began := time.Now()
	harness.Eventually(t, within, func() error {
		for i, d := range r.drops {
			if which(d) && r.sales[i].Load() < before[i]+n {
				return fmt.Errorf("drop %d has sold %d, then %d", d, before[i], r.sales[i].Load())
			}
		}
		return nil
	})
	t.Logf("the drops sold on within %v; %d sold, %d calls unavailable", time.Since(began).Round(time.Millisecond), r.sold(), r.failed.Load())
}

// settled checks a drop that is at rest, its holds one by one and its ledger.
// Where lossy, a fail-over may have lost purchases that were acknowledged.
func (r *rush) settled(t testing.TB, client redis.UniversalClient, lossy bool) {
	t.Helper()
	tallies, err := r.e.Tallies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, drop := range r.drops {
		s := stock(t, r.e, drop)
		if holds := tallies[engine.TallyKey{Drop: drop}].Holds; holds != s.Held {
			t.Errorf("drop %d: held %d, but %d holds", drop, s.Held, holds)
		}
		var sold int64
		for id, ends := range ledgerEndsBy(t, r.e, client, drop) {
			if engine.DropOf(id) != drop {
				continue
			}
			if len(ends) != 1 {
				t.Errorf("drop %d: reservation %d ended %d times", drop, id, len(ends))
			}
			if ends[0].Status == engine.StatusCompleted {
				sold++
				delete(r.purchased, id)
			}
		}
		if sold != s.Sold {
			t.Errorf("drop %d: sold %d, but %d purchases in the ledger", drop, s.Sold, sold)
		}
	}
	if len(r.purchased) > 0 && !lossy {
		t.Errorf("%d purchases are lost", len(r.purchased))
	}
	t.Logf("%d purchases acknowledged, %d of them lost; %d calls unavailable", r.sold(), len(r.purchased), r.failed.Load())
}

// ears remember the newest event of each drop.
type ears struct {
	mu     sync.Mutex
	newest map[int64]engine.Event
	resync int
}

func listenAlong(t testing.TB, e *engine.Engine) *ears {
	t.Helper()
	h := &ears{newest: map[int64]engine.Event{}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		e.Listen(ctx, engine.EventHandler{
			Event: func(ev engine.Event) {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.newest[ev.Drop] = ev
			},
			Resync: func() {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.resync++
			},
		})
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	harness.Eventually(t, 10*time.Second, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.resync == 0 {
			return errors.New("not subscribed")
		}
		return nil
	})
	return h
}

// hears reserves a unit of each drop, again where need be, until each is heard of.
func (h *ears) hears(t testing.TB, e *engine.Engine, within time.Duration, drops ...int64) {
	t.Helper()
	for _, drop := range drops {
		harness.Eventually(t, within, func() error {
			r, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: drop, User: 999_999})
			if err != nil {
				return err
			}
			defer func() { _, _ = e.Cancel(t.Context(), r.ID) }()
			version := stock(t, e, drop).Version
			for until := time.Now().Add(200 * time.Millisecond); time.Now().Before(until); time.Sleep(time.Millisecond) {
				h.mu.Lock()
				newest := h.newest[drop].Version
				h.mu.Unlock()
				if newest >= version {
					return nil
				}
			}
			return fmt.Errorf("nothing heard of drop %d", drop)
		})
	}
}
