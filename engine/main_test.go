package engine_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m, harness.Options{CheckLeaks: true})
}

// newEngine is a started engine in the test's own key space.
func newEngine(t testing.TB) (*engine.Engine, *harness.Env) {
	t.Helper()
	env := harness.New(t)
	return startEngine(t, env.RedisURL, env.Prefix), env
}

func startEngine(t testing.TB, url, prefix string, changes ...func(*engine.Config)) *engine.Engine {
	t.Helper()
	client, err := engine.NewClient(engine.ClientConfig{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	cfg := engine.Config{Redis: client, Prefix: prefix, Standalone: true}
	for _, change := range changes {
		change(&cfg)
	}
	e, err := engine.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Stop()
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// keyPrefix is what the keys of the drop's partition begin with.
func keyPrefix(env *harness.Env, drop int64) string {
	return engine.KeyPrefix(env.Prefix, 16, int(drop%16))
}

// open opens drop 1 … with one pool, started, unless the changes say otherwise.
func open(t testing.TB, e *engine.Engine, id, stock int64, changes ...func(*engine.Drop)) engine.Drop {
	t.Helper()
	d := engine.Drop{
		ID: id, Start: time.Now().Add(-time.Hour), Hold: time.Minute,
		Sizes: []engine.SizeStock{{Stock: stock}},
	}
	for _, change := range changes {
		change(&d)
	}
	if err := e.Open(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	return d
}

func hold(d time.Duration) func(*engine.Drop) { return func(x *engine.Drop) { x.Hold = d } }
func limit(n int64) func(*engine.Drop)        { return func(x *engine.Drop) { x.Limit = n } }
func sizes(s ...engine.SizeStock) func(*engine.Drop) {
	return func(x *engine.Drop) { x.Sizes = s }
}

func reserve(t testing.TB, e *engine.Engine, r engine.ReserveRequest) engine.Reservation {
	t.Helper()
	res, err := e.Reserve(t.Context(), r)
	if err != nil {
		t.Fatalf("reserve %+v: %v", r, err)
	}
	return res
}

// stock is the drop's stock, checked for conservation.
func stock(t testing.TB, e *engine.Engine, drop int64) engine.Stock {
	t.Helper()
	s, err := e.Stock(t.Context(), []int64{drop})
	if err != nil {
		t.Fatal(err)
	}
	if s[0] == nil {
		t.Fatalf("drop %d is unknown", drop)
	}
	for _, c := range s[0].Sizes {
		if c.Available+c.Held+c.Sold != c.Total || min(c.Available, c.Held, c.Sold) < 0 {
			t.Fatalf("conservation broken: %+v", c)
		}
	}
	return *s[0]
}

// wantStock fails unless the drop has these counts.
func wantStock(t testing.TB, e *engine.Engine, drop, available, held, sold int64) {
	t.Helper()
	if err := stockIs(t, e, drop, available, held, sold); err != nil {
		t.Fatal(err)
	}
}

func stockIs(t testing.TB, e *engine.Engine, drop, available, held, sold int64) error {
	t.Helper()
	s := stock(t, e, drop)
	if s.Available != available || s.Held != held || s.Sold != sold {
		return fmt.Errorf("available %d, held %d, sold %d; want %d, %d, %d", s.Available, s.Held, s.Sold, available, held, sold)
	}
	return nil
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}
