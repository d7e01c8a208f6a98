package engine_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// runExpirer runs an expirer until the returned function is called or the test ends.
func runExpirer(t testing.TB, e *engine.Engine, cfg engine.ExpirerConfig) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { e.NewExpirer(cfg).Run(ctx) })
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// fill holds n units of the drop, each by a person of its own.
func fill(t testing.TB, e *engine.Engine, drop int64, n int) []engine.Reservation {
	t.Helper()
	out := make([]engine.Reservation, n)
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for i := w; i < n; i += 64 {
				r, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: drop, User: int64(i + 1)})
				if err != nil {
					t.Errorf("reserve: %v", err)
					return
				}
				out[i] = r
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return out
}

// ledgerEnds reads the whole ledger of a drop's partition and counts how often
// each reservation ended.
func ledgerEnds(t testing.TB, e *engine.Engine, env *harness.Env, drop int64) map[int64][]engine.End {
	t.Helper()
	return ledgerEndsBy(t, e, env.Redis(), drop)
}

func ledgerEndsBy(t testing.TB, e *engine.Engine, client redis.UniversalClient, drop int64) map[int64][]engine.End {
	t.Helper()
	l := e.Ledger(client, "test")
	p := int(drop % int64(e.Partitions()))
	ends := map[int64][]engine.End{}
	for {
		entries, err := l.Read(t.Context(), p, 1000, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if len(entry.Broken) > 0 {
				t.Fatalf("broken ledger records %q", entry.Broken)
			}
			for _, end := range entry.Ends {
				ends[end.ID] = append(ends[end.ID], end)
			}
		}
		if len(entries) == 0 {
			return ends
		}
	}
}

func TestTenThousandHoldsLapse(t *testing.T) {
	t.Parallel()
	const n = 10_000
	for name, cfg := range map[string]engine.ExpirerConfig{
		"sweep and notifications": {},
		"notifications off":       {NoNotifications: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, env := newEngine(t)
			open(t, e, 1, n, hold(2*time.Second), limit(1))
			runExpirer(t, e, cfg)
			last := fill(t, e, 1, n)[n-1]
			harness.Eventually(t, time.Until(last.Deadline)+20*time.Second, func() error {
				return stockIs(t, e, 1, n, 0, 0)
			})
			ends := ledgerEnds(t, e, env, 1)
			if len(ends) != n {
				t.Fatalf("%d holds in the ledger, want %d", len(ends), n)
			}
			for id, end := range ends {
				if len(end) != 1 || end[0].Status != engine.StatusExpired {
					t.Fatalf("hold %d ended %+v", id, end)
				}
			}
			reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1}) // its limit is free again
			_, err := e.Purchase(t.Context(), last.ID)
			wantErr(t, err, engine.ErrExpired)
		})
	}
}

func TestNotificationsAlone(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	open(t, e, 1, 20, hold(300*time.Millisecond))
	runExpirer(t, e, engine.ExpirerConfig{NoSweep: true})
	fill(t, e, 1, 20)
	harness.Eventually(t, 20*time.Second, func() error { return stockIs(t, e, 1, 20, 0, 0) })
}

func TestHoldsOfOtherPartitionsLapseInTime(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	runExpirer(t, e, engine.ExpirerConfig{})
	const drops = 40
	for d := int64(1); d <= drops; d++ {
		open(t, e, d, 5, hold(engine.MinHold))
		fill(t, e, d, 5)
	}
	harness.Eventually(t, 10*time.Second, func() error {
		for d := int64(1); d <= drops; d++ {
			if err := stockIs(t, e, d, 5, 0, 0); err != nil {
				return fmt.Errorf("drop %d: %w", d, err)
			}
		}
		return nil
	})
}

func TestAnotherExpirerTakesOver(t *testing.T) {
	t.Parallel()
	const n = 3000
	e, env := newEngine(t)
	other := startEngine(t, env.RedisURL, env.Prefix)
	open(t, e, 1, n, hold(time.Second))
	stop := runExpirer(t, e, engine.ExpirerConfig{Batch: 10}) // slow, so that it dies midway
	last := fill(t, e, 1, n)[n-1]
	harness.Eventually(t, time.Until(last.Deadline)+10*time.Second, func() error {
		if stock(t, e, 1).Available == 0 {
			return errors.New("nothing released yet")
		}
		return nil
	})
	stop()
	runExpirer(t, other, engine.ExpirerConfig{})
	harness.Eventually(t, 10*time.Second, func() error { return stockIs(t, e, 1, n, 0, 0) })
	if ends := ledgerEnds(t, e, env, 1); len(ends) != n {
		t.Fatalf("%d holds in the ledger, want %d", len(ends), n)
	}
}

func TestPurchasesRaceTheDeadline(t *testing.T) {
	t.Parallel()
	const n = 1000
	e, env := newEngine(t)
	other := startEngine(t, env.RedisURL, env.Prefix)
	open(t, e, 1, n, hold(700*time.Millisecond))
	runExpirer(t, e, engine.ExpirerConfig{})
	runExpirer(t, other, engine.ExpirerConfig{})
	holds := fill(t, e, 1, n)
	var sold, lapsed atomic.Int64
	var wg sync.WaitGroup
	for i, r := range holds {
		wg.Go(func() {
			// Spread over ±30 ms around the deadline.
			wait := time.NewTimer(time.Until(r.Deadline) + time.Duration(i%61-30)*time.Millisecond)
			defer wait.Stop()
			<-wait.C
			switch _, err := other.Purchase(t.Context(), r.ID); {
			case err == nil:
				sold.Add(1)
			case errors.Is(err, engine.ErrExpired):
				lapsed.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if sold.Load()+lapsed.Load() != n {
		t.Fatalf("sold %d + lapsed %d, want %d", sold.Load(), lapsed.Load(), n)
	}
	harness.Eventually(t, 10*time.Second, func() error { return stockIs(t, e, 1, n-sold.Load(), 0, sold.Load()) })
	for id, end := range ledgerEnds(t, e, env, 1) {
		if len(end) != 1 {
			t.Fatalf("hold %d ended %d times: %+v", id, len(end), end)
		}
	}
	t.Logf("sold %d, lapsed %d", sold.Load(), lapsed.Load())
}

func TestLookupOfLapsedHold(t *testing.T) {
	t.Parallel()
	e, env := newEngine(t)
	open(t, e, 1, 5, hold(engine.MinHold))
	r := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 7, Size: "M"})
	expired := func() error {
		got, err := e.Reservation(t.Context(), r.ID)
		if err != nil || got.Status != engine.StatusExpired {
			return fmt.Errorf("%+v, %w", got, err)
		}
		if got.User != 7 || got.Size != "M" || !got.Deadline.Equal(r.Deadline) {
			t.Fatalf("details lost: %+v", got)
		}
		return nil
	}
	harness.Eventually(t, 5*time.Second, expired) // lapsed, not yet released
	runExpirer(t, e, engine.ExpirerConfig{})
	harness.Eventually(t, 5*time.Second, func() error { return stockIs(t, e, 1, 5, 0, 0) })
	if err := expired(); err != nil { // released, in the ledger
		t.Fatal(err)
	}
	env.Redis().Del(t.Context(), keyPrefix(env, 1)+"ledger")
	got, err := e.Reservation(t.Context(), r.ID) // persisted and gone from Redis
	if err != nil || got != (engine.Reservation{ID: r.ID, Drop: 1, Status: engine.StatusExpired}) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestLapsedHoldThatFitsNothingIsKeptApart(t *testing.T) {
	t.Parallel()
	e, env := newEngine(t)
	open(t, e, 1, 5, hold(engine.MinHold))
	c := env.Redis()
	key := keyPrefix(env, 1) + "deadlines"
	// The last takes the place of the hold below, which then fits no held unit.
	for _, member := range []string{"nonsense", "17:1:1:1:2:", "1:x:1:1:2:", "1:9:1:1:2:"} {
		c.ZAdd(t.Context(), key, redisZ(1, member))
	}
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
	runExpirer(t, e, engine.ExpirerConfig{})
	harness.Eventually(t, 5*time.Second, func() error {
		info, err := e.LedgerInfo(t.Context())
		if err != nil || info.Dead < 4 {
			return fmt.Errorf("dead letters %d, %w", info.Dead, err)
		}
		return stockIs(t, e, 1, 5, 0, 0)
	})
}
