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
	byDrop sync.Map // drop id → *refusalCounts
}

type refusalCounts [len(refusalReasons)]atomic.Int64

func (r *refusals) count(drop int64, err error) {
	if err == nil {
		return
	}
	for i, reason := range refusalReasons {
		if errors.Is(err, reason) {
			counts, ok := r.byDrop.Load(drop)
			if !ok {
				counts, _ = r.byDrop.LoadOrStore(drop, new(refusalCounts))
			}
			counts.(*refusalCounts)[i].Add(1) //nolint:forcetypeassert // nothing else is stored
			return
		}
	}
}

// Refusals are how many reservations of a drop this process has refused since
// it started, by error: ErrOutOfStock, ErrLimitReached, ErrNotStarted,
// ErrEnded, ErrExhausted, ErrPaused.
func (e *Engine) Refusals(drop int64) map[error]int64 {
	out := make(map[error]int64, len(refusalReasons))
	counts, ok := e.refusals.byDrop.Load(drop)
	for i, reason := range refusalReasons {
		if ok {
			out[reason] = counts.(*refusalCounts)[i].Load() //nolint:forcetypeassert // nothing else is stored
		}
	}
	return out
}
