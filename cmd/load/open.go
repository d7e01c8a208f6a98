package load

import (
	"context"
	"sync"
	"time"
)

// least is the shortest time that the schedule rests, since each rest costs
// much: what is due within it leaves together at its end, and never early.
const least = 250 * time.Microsecond

// lastMoment is how long after the schedule's end arrivals that wait may be sent.
const lastMoment = time.Second

// open has steps arrive at the rate. An arrival is taken by a free worker, or
// waits for one; its time runs from when it was due.
func (r *run) open(ctx context.Context, began time.Time) *Result {
	var result Result
	due := make(chan time.Duration, r.cfg.Backlog) // since began
	// Once the schedule is over, those that wait have a last moment to be served.
	over, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	dropped := make([]int64, len(r.workers))
	for i, w := range r.workers {
		all.Go(func() {
			for at := range due {
				if over.Err() != nil {
					dropped[i]++
					continue
				}
				w.step(r.cfg.Step, began.Add(at))
			}
		})
	}
	r.schedule(ctx, began, due, &result)
	close(due)
	last := time.AfterFunc(lastMoment, stop)
	defer last.Stop()
	all.Wait()
	for _, n := range dropped {
		result.Dropped += n
	}
	return &result
}

// schedule sends arrivals as they become due.
func (r *run) schedule(ctx context.Context, began time.Time, due chan<- time.Duration, result *Result) {
	p := newPacer()
	defer p.close()
	for ctx.Err() == nil {
		at := time.Duration(float64(result.Scheduled) / r.cfg.Rate * float64(time.Second))
		if at >= r.cfg.Duration || r.cfg.Steps > 0 && result.Scheduled >= r.cfg.Steps {
			return
		}
		if wait := at - time.Since(began); wait > 0 {
			p.pause(ctx, max(wait, least))
			continue
		}
		result.Late = max(result.Late, time.Since(began)-at)
		result.Scheduled++
		select {
		case due <- at:
		default:
			result.Dropped++
		}
	}
}
