package loadtest

import (
	"context"
	"sync"
	"time"
)

// StockPoint is what was left at a time.
type StockPoint struct {
	Second    float64 `json:"second"` // since the buyers came
	Available int64   `json:"available"`
	Held      int64   `json:"held"`
	Sold      int64   `json:"sold"`
}

// sampler reads the drop again and again while buyers come.
type sampler struct {
	shop *shop
	drop int64

	mu     sync.Mutex
	points []StockPoint
	sums   tally // readings, and whether they added up

	stop func()
	done sync.WaitGroup
}

const (
	sampleEvery = 250 * time.Millisecond // at most so often
	samples     = 300                    // about so many in a long test
)

// sample reads until end is called.
func sample(ctx context.Context, s *shop, id int64, duration time.Duration) *sampler {
	ctx, stop := context.WithCancel(ctx)
	m := &sampler{shop: s, drop: id, stop: stop}
	began := time.Now()
	m.done.Go(func() {
		tick := time.NewTicker(max(sampleEvery, duration/samples))
		defer tick.Stop()
		for {
			if d, err := s.drop(ctx, id); err == nil {
				m.note(d, time.Since(began))
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return m
}

func (m *sampler) note(d drop, at time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.points = append(m.points, StockPoint{at.Seconds(), d.Available, d.Held, d.Sold})
	if err := d.addsUp(); err != nil {
		m.sums.failed("after %.1f s: %v", at.Seconds(), err)
		return
	}
	m.sums.ok()
}

// last is the newest reading; false before the first.
func (m *sampler) last() (p StockPoint, found bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.points) == 0 {
		return p, false
	}
	return m.points[len(m.points)-1], true
}

// end stops it; what it has read may then be looked at freely.
func (m *sampler) end() {
	m.stop()
	m.done.Wait()
}
