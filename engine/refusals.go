package engine

import (
	"errors"
	"sync"
	"sync/atomic"
)

// refusalReasons are the errors that count as a refusal by the drop; bad
// requests and failures are none.
var refusalReasons = [...]error{ErrOutOfStock, ErrLimitReached, ErrNotStarted, ErrEnded, ErrExhausted, ErrPaused}

// refusals counts what this process refused, by drop: a refusal leaves no trace
// in Redis. Only drops that Redis knows get an entry, so the catalogue bounds it.
type refusals struct {
	mu     sync.RWMutex
	byDrop map[int64]*refusalCounts
}

func newRefusals() refusals { return refusals{byDrop: map[int64]*refusalCounts{}} }

type refusalCounts [len(refusalReasons)]atomic.Int64

func (r *refusals) count(drop int64, err error) {
	if err == nil {
		return
	}
	for i, reason := range refusalReasons {
		if errors.Is(err, reason) {
			r.of(drop)[i].Add(1)
			return
		}
	}
}

func (r *refusals) of(drop int64) *refusalCounts {
	r.mu.RLock()
	counts := r.byDrop[drop]
	r.mu.RUnlock()
	if counts != nil {
		return counts
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if counts = r.byDrop[drop]; counts == nil {
		counts = new(refusalCounts)
		r.byDrop[drop] = counts
	}
	return counts
}

// Refusals are how many reservations of a drop this process has refused since
// it started, by error: ErrOutOfStock, ErrLimitReached, ErrNotStarted,
// ErrEnded, ErrExhausted, ErrPaused.
func (e *Engine) Refusals(drop int64) map[error]int64 {
	out := make(map[error]int64, len(refusalReasons))
	e.refusals.mu.RLock()
	defer e.refusals.mu.RUnlock()
	counts := e.refusals.byDrop[drop]
	for i, reason := range refusalReasons {
		if counts != nil {
			out[reason] = counts[i].Load()
		}
	}
	return out
}
