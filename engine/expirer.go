package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/lua"
)

// ExpirerConfig configures an Expirer.
type ExpirerConfig struct {
	// Batch is how many lapsed holds one script call releases. Defaults to 500.
	Batch int
	// NoSweep leaves the release to expired-key notifications alone, which
	// come late and can be lost: for tests. Defaults to false.
	NoSweep bool
	// NoNotifications leaves the release to the sweep alone, for a Redis whose
	// notifications cannot be switched on. Defaults to false.
	NoNotifications bool
}

// Expirer gives lapsed holds back. Any number of them may run, in any number
// of processes; one is enough.
//
// Three things wake a partition's release: the deadline sweep, which knows when
// the next hold lapses; a look at all partitions at once for deadlines before
// that; and Redis's expired-key notifications. The sweep is the
// truth: every release reads the deadlines. A notification is a hint, which
// may come late, twice or never.
type Expirer struct {
	e    *Engine
	cfg  ExpirerConfig
	wake []chan struct{} // one a partition
}

const (
	// lookEvery is how often the partitions are looked at for holds that lapse
	// before those known. One lasts MinHold at the least, so each is seen in time.
	lookEvery = MinHold * 4 / 5
	// anyway is how long a partition rests at the most.
	anyway = 5 * time.Second
	// sweepGap is the rest between two sweeps of a partition: holds that lapse
	// within it are released together.
	sweepGap = 5 * time.Millisecond
	// sweepRetry is how long a partition rests after an error; it doubles up to
	// sweepRetryMax.
	sweepRetry    = 50 * time.Millisecond
	sweepRetryMax = time.Second
)

// NewExpirer makes an Expirer of the engine's deployment.
func (e *Engine) NewExpirer(cfg ExpirerConfig) *Expirer {
	if cfg.Batch <= 0 {
		cfg.Batch = 500
	}
	x := &Expirer{e: e, cfg: cfg, wake: make([]chan struct{}, e.keys.partitions)}
	for p := range x.wake {
		x.wake[p] = make(chan struct{}, 1)
	}
	return x
}

// Run releases lapsed holds until ctx ends.
func (x *Expirer) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for p := range x.wake {
		wg.Go(func() { x.sweep(ctx, p) })
	}
	if !x.cfg.NoSweep {
		wg.Go(func() { x.look(ctx) })
	}
	if !x.cfg.NoNotifications {
		wg.Go(func() { x.listen(ctx) })
	}
	wg.Wait()
}

// Sweep releases once what is due in all partitions. It is for an operator
// whose expirers do not run.
func (x *Expirer) Sweep(ctx context.Context) error {
	for p := range x.wake {
		if _, err := x.release(ctx, p); err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
	}
	return nil
}

// sweep looks after one partition: it releases what is due, then waits for the
// next deadline or a wake-up, whichever is first.
func (x *Expirer) sweep(ctx context.Context, p int) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	wait := func(d time.Duration, wake <-chan struct{}) {
		timer.Reset(d)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer.C:
		}
	}
	for retry := sweepRetry; ctx.Err() == nil; {
		next, err := x.release(ctx, p)
		if err != nil {
			if retry == sweepRetry && ctx.Err() == nil && !errors.Is(err, ErrFenced) {
				x.e.log.Error("release of lapsed holds failed; trying on", "partition", p, "err", err)
			}
			if errors.Is(err, ErrFenced) { // for moments, after which what has lapsed meanwhile is late
				wait(sweepRetry, nil)
				continue
			}
			wait(retry, nil)
			retry = min(2*retry, sweepRetryMax)
			continue
		}
		retry = sweepRetry
		wait(sweepGap, nil)
		if x.cfg.NoSweep {
			next = math.MaxInt64
		} else {
			next = min(next, anyway)
		}
		wait(max(0, next-sweepGap), x.wake[p])
	}
}

// look wakes the partitions whose first deadline is another than at the last
// look, or is over. It asks for all in one round trip: an idle deployment of
// many partitions costs hardly more than one of one. What cannot be asked is
// woken too, since its sweep knows what to do about errors.
func (x *Expirer) look(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	seen := make([]float64, len(x.wake)) // 0: no hold
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, first := x.firstDeadlines(ctx)
		for p, cmd := range first {
			deadline := 0.0
			if z := cmd.Val(); len(z) > 0 {
				deadline = z[0].Score
			}
			over := deadline != 0 && deadline <= float64(now.Val().UnixMilli())
			if cmd.Err() != nil || now.Err() != nil || over || deadline != 0 && deadline != seen[p] {
				x.kick(p)
			}
			seen[p] = deadline
		}
	}
}

// firstDeadlines reads Redis's time, on a cluster that of any master, and each
// partition's first deadline. The commands have the errors.
func (x *Expirer) firstDeadlines(ctx context.Context) (now *redis.TimeCmd, first []*redis.ZSliceCmd) {
	ctx, cancel := context.WithTimeout(ctx, x.e.cfg.CallTimeout)
	defer cancel()
	first = make([]*redis.ZSliceCmd, len(x.wake))
	_, _ = x.e.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		now = pipe.Time(ctx)
		for p := range first {
			first[p] = pipe.ZRangeWithScores(ctx, x.e.keys.deadlines(p), 0, 0)
		}
		return nil
	})
	return now, first
}

// release releases all that is due in a partition and returns how long it is
// until the next deadline.
func (x *Expirer) release(ctx context.Context, p int) (time.Duration, error) {
	for {
		callCtx, cancel := context.WithTimeout(ctx, x.e.cfg.CallTimeout)
		var r lua.ReleaseReply
		err := x.e.inEpoch(callCtx, p, func(token string) (err error) {
			args := x.e.releaseArgs(p, int64(x.cfg.Batch))
			args.Token = token
			r, err = lua.Release(callCtx, x.e.redis, args)
			return err
		}, nil)
		cancel()
		if err != nil {
			return 0, err
		}
		x.e.metrics.released(r.Released, r.LateMS)
		if r.Dead > 0 {
			x.e.metrics.orphans.Add(float64(r.Dead))
			x.e.log.Error("lapsed holds that fit no held unit are in the dead-letter stream", "partition", p, "count", r.Dead)
		}
		if r.Released+r.Dead < int64(x.cfg.Batch) {
			if r.NextMS < 0 {
				return anyway, nil
			}
			return time.Duration(r.NextMS+1) * time.Millisecond, nil
		}
	}
}

func (e *Engine) releaseArgs(p int, most int64) lua.ReleaseArgs {
	k := e.keys
	return lua.ReleaseArgs{
		Meta: k.meta(p), Deadlines: k.deadlines(p), Ledger: k.ledger(p), Dead: k.dead(p),
		DropPrefix: k.base(p) + "drop:", BuyersPrefix: k.base(p) + "buyers:",
		Events: k.events(p), Most: most,
	}
}

func (x *Expirer) kick(p int) {
	select {
	case x.wake[p] <- struct{}{}:
	default: // it is awake already
	}
}
