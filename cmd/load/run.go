package load

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Step is what a worker does again and again: one call or several, one after
// the other. It returns what came of it as a whole.
type Step func(*Worker) Outcome

// Limits of a run.
const (
	MaxWorkers  = 20_000
	MaxRate     = 200_000   // arrivals a second
	MaxDuration = time.Hour // of the schedule
	maxBacklog  = 1_000_000
)

// Config says what a run does.
type Config struct {
	// URL is the server's base address, http or https.
	URL string
	// Workers is how many workers there are, each with a connection of its own.
	// Defaults to 64.
	Workers int
	// Rate is how many steps a second arrive: an open loop. Defaults to 0, a
	// closed loop.
	Rate float64
	// Backlog is how many arrivals of an open loop may wait for a free worker;
	// what arrives beyond is dropped. Defaults to what arrives in a second.
	Backlog int
	// Duration bounds the run: no step begins after it. Defaults to an hour.
	Duration time.Duration
	// Steps bounds the run: so many steps are begun. Defaults to no bound.
	Steps int64
	// Timeout bounds a call. Defaults to 10 s.
	Timeout time.Duration
	// Step is called by all workers at once.
	Step Step
	// Progress is told each second how many steps had which outcome. Defaults to
	// nobody being told.
	Progress func(elapsed time.Duration, steps map[Outcome]int64)
}

func (cfg *Config) complete() error {
	if cfg.Workers == 0 {
		cfg.Workers = 64
	}
	if cfg.Duration == 0 {
		cfg.Duration = MaxDuration
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Backlog == 0 {
		cfg.Backlog = min(max(int(cfg.Rate), 1), maxBacklog)
	}
	for _, check := range []struct {
		wrong bool
		says  string
	}{
		{cfg.Step == nil, "no step"},
		{cfg.Workers < 1 || cfg.Workers > MaxWorkers, fmt.Sprintf("workers must be 1 to %d", MaxWorkers)},
		{cfg.Rate < 0 || cfg.Rate > MaxRate, fmt.Sprintf("rate must be 0 to %d a second", MaxRate)},
		{cfg.Backlog < 1 || cfg.Backlog > maxBacklog, fmt.Sprintf("backlog must be 1 to %d", maxBacklog)},
		{cfg.Duration < 0 || cfg.Duration > MaxDuration, fmt.Sprintf("duration must be at most %v", MaxDuration)},
		{cfg.Steps < 0, "steps must not be negative"},
		{cfg.Timeout < 0 || cfg.Timeout > longest, fmt.Sprintf("timeout must be at most %v", longest)},
	} {
		if check.wrong {
			return errors.New(check.says)
		}
	}
	return nil
}

// run is a run while it lasts.
type run struct {
	cfg       Config
	base      *url.URL
	workers   []*Worker
	recorders []*recorder
	steps     atomic.Int64 // begun, of a closed loop
}

// Run connects all workers, lets them work until the duration or the number of
// steps is reached or ctx is done, and returns when each has its last answer.
// The error says that the config is wrong or the server cannot be reached.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	base, err := ParseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	r := &run{cfg: cfg, base: base, recorders: make([]*recorder, min(recorders, cfg.Workers))}
	for i := range r.recorders {
		r.recorders[i] = &recorder{}
	}
	for n := range cfg.Workers {
		// A call that is under way when the run is cancelled gets its answer.
		w := &Worker{N: n, ctx: ctx, conn: newConn(base, cfg.Timeout), rec: r.recorders[n%len(r.recorders)]}
		r.workers = append(r.workers, w)
	}
	defer func() {
		for _, w := range r.workers {
			w.conn.close()
		}
	}()
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	for _, rec := range r.recorders {
		rec.began = began
	}
	watched := r.watch(began)
	var result *Result
	if cfg.Rate > 0 {
		result = r.open(ctx, began)
	} else {
		result = r.closed(ctx, began)
	}
	result.Elapsed = time.Since(began)
	watched()
	var all recorder
	for _, rec := range r.recorders {
		rec.addTo(&all)
	}
	result.Tallies = all.tallies
	result.sort()
	return result, nil
}

// connect dials for all workers, so that the run begins with every connection open.
func (r *run) connect(ctx context.Context) error {
	const atOnce = 64
	slots := make(chan struct{}, atOnce)
	errs := make(chan error, len(r.workers))
	for _, w := range r.workers {
		slots <- struct{}{}
		go func() {
			errs <- w.conn.dial(ctx)
			<-slots
		}()
	}
	var failed error
	for range r.workers {
		if err := <-errs; err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

// closed has each worker begin a step as soon as it has ended the last.
func (r *run) closed(ctx context.Context, began time.Time) *Result {
	end := began.Add(r.cfg.Duration)
	var all sync.WaitGroup
	for _, w := range r.workers {
		all.Go(func() {
			for now := time.Now(); now.Before(end) && ctx.Err() == nil; now = time.Now() {
				if r.cfg.Steps > 0 && r.steps.Add(1) > r.cfg.Steps {
					return
				}
				w.step(r.cfg.Step, now)
			}
		})
	}
	all.Wait()
	return &Result{}
}

// step runs one step that was due at the time given.
func (w *Worker) step(do Step, due time.Time) {
	w.due = due
	o := do(w)
	now := time.Now()
	w.rec.record("", o, now.Sub(due), now)
}

// watch tells Progress each second until what it returns is called.
func (r *run) watch(began time.Time) (stop func()) {
	if r.cfg.Progress == nil {
		return func() {}
	}
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			counts := map[Outcome]int64{}
			for _, rec := range r.recorders {
				rec.count(counts)
			}
			r.cfg.Progress(time.Since(began), counts)
		}
	})
	return func() { close(done); watching.Wait() }
}
