package engine_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

func TestLongLedger(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	e, err := engine.New(engine.Config{Redis: env.Redis(), Prefix: env.Prefix, Standalone: true, MaxLedger: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Stop)
	open(t, e, 1, 10)
	open(t, e, 2, 10)
	ask := engine.ReserveRequest{Drop: 1, User: 1, Key: "k"}
	first, second, third := reserve(t, e, ask), reserve(t, e, engine.ReserveRequest{Drop: 1, User: 2}), reserve(t, e, engine.ReserveRequest{Drop: 1, User: 3})
	for _, end := range []func() (engine.Reservation, error){
		func() (engine.Reservation, error) { return e.Purchase(t.Context(), first.ID) },
		func() (engine.Reservation, error) { return e.Cancel(t.Context(), second.ID) },
	} {
		if _, err := end(); err != nil {
			t.Fatal(err)
		}
	}
	_, err = e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 4})
	wantErr(t, err, engine.ErrOverloaded)
	wantStock(t, e, 1, 8, 1, 1)
	// What is answered already is answered again, holds end, and other
	// partitions sell.
	if again := reserve(t, e, ask); again.ID != first.ID || !again.Replayed {
		t.Errorf("replay: %+v", again)
	}
	if _, err := e.Purchase(t.Context(), third.ID); err != nil {
		t.Error(err)
	}
	reserve(t, e, engine.ReserveRequest{Drop: 2, User: 4})
	// A drop that would refuse anyway says why.
	open(t, e, 17, 1, func(d *engine.Drop) { d.Start = time.Now().Add(time.Hour) })
	_, err = e.Reserve(t.Context(), engine.ReserveRequest{Drop: 17, User: 4})
	wantErr(t, err, engine.ErrNotStarted)

	ledger := e.Ledger(env.Redis(), "test")
	if err := ledger.Init(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	entries, err := ledger.Read(t.Context(), 1, 10, 0)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	if err := ledger.Done(t.Context(), 1, e.Epoch(1), []string{entries[0].ID, entries[1].ID}); err != nil {
		t.Fatal(err)
	}
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 4})
}

func TestNearlyFullMemory(t *testing.T) {
	t.Parallel()
	own := harness.Own(t, harness.OwnOptions{RedisOnly: true})
	log := &strings.Builder{}
	client := own.Redis()
	e, err := engine.New(engine.Config{Redis: client, Standalone: true, MaxMemoryPercent: 80, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Stop()
		for _, says := range []string{"nearly full", "has memory again"} {
			if n := strings.Count(log.String(), says); n != 1 {
				t.Errorf("the log says %q %d times:\n%s", says, n, log)
			}
		}
	})
	open(t, e, 1, 10, hold(2*time.Second))
	bought, given := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1}), reserve(t, e, engine.ReserveRequest{Drop: 1, User: 2})
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 3}) // lapses

	set := func(maxmemory string) {
		t.Helper()
		if err := client.ConfigSet(t.Context(), "maxmemory", maxmemory).Err(); err != nil {
			t.Fatal(err)
		}
	}
	until := func(want error) {
		t.Helper()
		harness.Eventually(t, 10*time.Second, func() error {
			r, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 4})
			if err == nil {
				_, err := e.Cancel(t.Context(), r.ID)
				if err != nil {
					t.Fatal(err)
				}
			}
			if !errors.Is(err, want) {
				return fmt.Errorf("reserve: %w, want %w", err, want)
			}
			return nil
		})
	}
	set("1mb") // less than Redis takes empty
	until(engine.ErrOverloaded)
	if _, err := e.Purchase(t.Context(), bought.ID); err != nil {
		t.Errorf("purchase: %v", err)
	}
	if _, err := e.Cancel(t.Context(), given.ID); err != nil {
		t.Errorf("cancel: %v", err)
	}
	runExpirer(t, e, engine.ExpirerConfig{})
	harness.Eventually(t, 10*time.Second, func() error { return stockIs(t, e, 1, 9, 0, 1) })
	set("1gb")
	until(nil)
}
