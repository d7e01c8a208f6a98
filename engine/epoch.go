package engine

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/lua"
)

// A partition is served in an epoch, on the one server that was compared with
// the history when the epoch was admitted; epoch.lua tells how. The engine
// remembers the epoch of each partition and sends it with every call that
// changes something. A call in another epoch is refused as fenced, which
// means that nothing was done.
type epochs struct {
	admitted []atomic.Int64 // by partition, as far as this engine knows; 0: fenced, or not known yet
	newest   []atomic.Int64 // the greatest that is known to have been served, here or elsewhere
	changed  []atomic.Bool  // another epoch than before was found, and nobody has looked after it
	news     chan struct{}  // has a value when something above changed
	alone    *sync.Mutex    // of admitAlone
}

func newEpochs(partitions int) epochs {
	return epochs{
		admitted: make([]atomic.Int64, partitions),
		newest:   make([]atomic.Int64, partitions),
		changed:  make([]atomic.Bool, partitions),
		news:     make(chan struct{}, 1),
		alone:    new(sync.Mutex),
	}
}

func (e *epochs) tell() {
	select {
	case e.news <- struct{}{}:
	default: // told already
	}
}

// Standing is where a partition stands, and on which server.
type Standing struct {
	Epoch    int64  // admitted last; 0: none is known
	Server   string // replication id of the server that answers
	Admitted bool   // the epoch is served; else the partition is fenced
	// Lossy says that this server may lack what was acknowledged: its data is
	// gone, it is a promoted replica, or its settings allow for it.
	Lossy bool
}

// Standing asks the server of a partition. It returns ErrUnavailable.
func (e *Engine) Standing(ctx context.Context, partition int) (Standing, error) {
	s, previous, err := e.standing(ctx, partition)
	if err == nil && !s.Admitted {
		s.Lossy = s.Epoch == 0 || strings.Trim(previous, "0") != "" || !e.durable(ctx)
	}
	return s, err
}

// standing leaves out whether the server is lossy, which takes more calls.
// previous is the replication id that it had before.
func (e *Engine) standing(ctx context.Context, partition int) (s Standing, previous string, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	r, err := lua.Epoch(ctx, e.redis, e.keys.meta(partition))
	if err != nil {
		return Standing{}, "", unavailable(err)
	}
	return Standing{Epoch: r.Epoch, Server: r.Server, Admitted: r.Admitted}, r.Previous, nil
}

// durable says whether Redis keeps what it acknowledged through a crash. What
// cannot be known counts as no.
func (e *Engine) durable(ctx context.Context) bool {
	return eachMaster(ctx, e.redis, func(ctx context.Context, c redis.Cmdable) error {
		for name, want := range map[string]string{"appendonly": "yes", "appendfsync": "always"} {
			have, err := c.ConfigGet(ctx, name).Result()
			if err != nil {
				return err
			}
			if have[name] != want {
				return fmt.Errorf("%s is %s", name, have[name])
			}
		}
		return nil
	}) == nil
}

// Refresh learns the epoch of a partition anew, and says whether it is served.
func (e *Engine) Refresh(ctx context.Context, partition int) (admitted bool, err error) {
	s, _, err := e.standing(ctx, partition)
	if err != nil {
		return false, err
	}
	if !s.Admitted && e.cfg.Standalone {
		if s, err = e.admitAlone(ctx, partition); err != nil {
			return false, err
		}
	}
	epoch := s.Epoch
	// A server of an epoch before one that was seen has been replaced, and has
	// not noticed yet.
	if !s.Admitted || epoch < e.epochs.newest[partition].Load() {
		epoch = 0
	}
	e.NotBefore(partition, epoch)
	if before := e.epochs.admitted[partition].Swap(epoch); before != epoch {
		if epoch != 0 {
			e.epochs.changed[partition].Store(true)
		}
		e.epochs.tell()
	}
	return epoch != 0, nil
}

// NotBefore says that the partition has been served in an epoch, somewhere: a
// server of an earlier one is not taken for the partition's any more.
func (e *Engine) NotBefore(partition int, epoch int64) {
	newest := &e.epochs.newest[partition]
	for seen := newest.Load(); epoch > seen; seen = newest.Load() {
		if newest.CompareAndSwap(seen, epoch) {
			return
		}
	}
}

// admitAlone admits a partition as it is found, for want of a history.
func (e *Engine) admitAlone(ctx context.Context, partition int) (Standing, error) {
	// One call at a time: each claim fences what the one before has admitted.
	e.epochs.alone.Lock()
	defer e.epochs.alone.Unlock()
	s, err := e.Standing(ctx, partition)
	if err != nil || s.Admitted {
		return s, err
	}
	r, err := e.BeginRebuild(ctx, partition, s)
	if err != nil {
		return Standing{}, err
	}
	if err := r.Admit(ctx, s.Epoch+1); err != nil {
		return Standing{}, err
	}
	return e.Standing(ctx, partition)
}

// Epoch is the epoch in which this engine works on a partition; 0: it is
// fenced, or not known yet.
func (e *Engine) Epoch(partition int) int64 { return e.epochs.admitted[partition].Load() }

// Fenced lists the partitions that this engine has found fenced.
func (e *Engine) Fenced() []int {
	var fenced []int
	for p := range e.epochs.admitted {
		if e.Epoch(p) == 0 {
			fenced = append(fenced, p)
		}
	}
	return fenced
}

// EpochNews has a value whenever a partition was found fenced, or admitted in
// another epoch, since the last was taken.
func (e *Engine) EpochNews() <-chan struct{} { return e.epochs.news }

// TakeChanged lists the partitions whose epoch has changed since the last
// call: what was acknowledged on them before is to be looked for (Unaccounted).
func (e *Engine) TakeChanged() []int {
	var changed []int
	for p := range e.epochs.changed {
		if e.epochs.changed[p].Swap(false) {
			changed = append(changed, p)
		}
	}
	return changed
}

// PutChanged gives a partition back that TakeChanged gave, for another try.
func (e *Engine) PutChanged(partition int) { e.epochs.changed[partition].Store(true) }

// inEpoch makes a call that changes something. One that is fenced has done
// nothing: it is made once more if another epoch was admitted meanwhile, else
// the error is ErrFenced. keep, which may be nil, remembers what was done,
// before it is acknowledged.
func (e *Engine) inEpoch(ctx context.Context, partition int, call func(token string) error, keep func()) error {
	for try := 0; ; try++ {
		epoch := e.Epoch(partition)
		err := call(strconv.FormatInt(epoch, 10))
		switch {
		case err == nil:
			if keep != nil {
				keep()
			}
			// A server that was replaced while it answered may have done this
			// in vain. Who looks for lost work has it in the memory or, if it
			// came too late for that, nobody is told that it was done.
			if e.Epoch(partition) != epoch {
				return fmt.Errorf("%w: partition %d has another epoch since", ErrUnavailable, partition)
			}
			return nil
		case !lua.Fenced(err):
			return unavailable(err)
		}
		admitted, refreshErr := e.Refresh(ctx, partition)
		switch {
		case refreshErr != nil:
			return fmt.Errorf("%w: partition %d: %w", ErrFenced, partition, refreshErr)
		case !admitted || try > 0:
			return fmt.Errorf("%w: partition %d", ErrFenced, partition)
		}
	}
}
