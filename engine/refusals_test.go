package engine_test

import (
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/holdfast/holdfast/engine"
)

func TestRefusalsAreCountedByDropAndReason(t *testing.T) {
	t.Parallel()
	e, env := newEngine(t)
	other := startEngine(t, env.RedisURL, env.Prefix)
	const lastSeq = 1<<25 - 1
	open(t, e, 1, 2, limit(1))
	open(t, e, 2, 1, func(d *engine.Drop) { d.Start = time.Now().Add(time.Hour) })
	open(t, e, 3, 1, func(d *engine.Drop) { d.End = time.Now().Add(-time.Minute) })
	open(t, e, 4, 9)
	env.Redis().HSet(t.Context(), keyPrefix(env, 4)+"drop:4", "state", "paused")
	open(t, e, 5, 9, func(d *engine.Drop) { d.FirstSeq = lastSeq })
	open(t, e, 6, 9, sizes(engine.SizeStock{Size: "41", Stock: 1}))
	open(t, e, 7, 9)
	refuse := func(times int, r engine.ReserveRequest, want error) {
		t.Helper()
		for range times {
			_, err := e.Reserve(t.Context(), r)
			wantErr(t, err, want)
		}
	}

	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
	refuse(2, engine.ReserveRequest{Drop: 1, User: 1}, engine.ErrLimitReached)
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 2})
	refuse(3, engine.ReserveRequest{Drop: 1, User: 3}, engine.ErrOutOfStock)
	refuse(4, engine.ReserveRequest{Drop: 2, User: 1}, engine.ErrNotStarted)
	refuse(5, engine.ReserveRequest{Drop: 3, User: 1}, engine.ErrEnded)
	refuse(6, engine.ReserveRequest{Drop: 4, User: 1}, engine.ErrPaused)
	reserve(t, e, engine.ReserveRequest{Drop: 5, User: 1})
	refuse(7, engine.ReserveRequest{Drop: 5, User: 1}, engine.ErrExhausted)
	reserve(t, e, engine.ReserveRequest{Drop: 6, User: 1, Size: "41"})
	refuse(1, engine.ReserveRequest{Drop: 6, User: 1, Size: "41"}, engine.ErrOutOfStock)

	// None of these is a refusal by the drop.
	refuse(1, engine.ReserveRequest{Drop: 6, User: 1}, engine.ErrSizeRequired)
	refuse(1, engine.ReserveRequest{Drop: 6, User: 1, Size: "42"}, engine.ErrUnknownSize)
	refuse(1, engine.ReserveRequest{Drop: 7}, engine.ErrInvalid)
	reserve(t, e, engine.ReserveRequest{Drop: 7, User: 1, Key: "k"})
	refuse(1, engine.ReserveRequest{Drop: 7, User: 2, Key: "k"}, engine.ErrIdempotencyConflict)
	refuse(1, engine.ReserveRequest{Drop: 99, User: 1}, engine.ErrDropNotFound)

	for drop, want := range map[int64]map[error]int64{
		1: {engine.ErrLimitReached: 2, engine.ErrOutOfStock: 3}, 2: {engine.ErrNotStarted: 4}, 3: {engine.ErrEnded: 5},
		4: {engine.ErrPaused: 6}, 5: {engine.ErrExhausted: 7}, 6: {engine.ErrOutOfStock: 1}, 7: {}, 99: {}, 0: {},
	} {
		got := e.Refusals(drop)
		maps.DeleteFunc(got, func(_ error, n int64) bool { return n == 0 })
		if !maps.Equal(got, want) {
			t.Errorf("refusals of drop %d: %v, want %v", drop, got, want)
		}
		if elsewhere := other.Refusals(drop); len(elsewhere) != 0 {
			t.Errorf("another process has refused %v of drop %d", elsewhere, drop)
		}
	}
}

func TestRefusalsAtOnceAreAllCounted(t *testing.T) {
	t.Parallel()
	const drops, each = 5, 200
	e, _ := newEngine(t)
	var all sync.WaitGroup
	for drop := range int64(drops) {
		open(t, e, drop+1, 1)
		reserve(t, e, engine.ReserveRequest{Drop: drop + 1, User: 1})
	}
	for i := range int64(drops * each) {
		all.Go(func() {
			if _, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: i%drops + 1, User: 2}); err == nil {
				t.Error("oversold")
			}
		})
	}
	all.Wait()
	for drop := range int64(drops) {
		if n := e.Refusals(drop + 1)[engine.ErrOutOfStock]; n != each {
			t.Errorf("drop %d has refused %d, want %d", drop+1, n, each)
		}
	}
}
