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

// sample reads until end is called; before is how the drop is at first.
func sample(ctx context.Context, s *shop, before drop, duration time.Duration) *sampler {
	ctx, stop := context.WithCancel(ctx)
	m := &sampler{stop: stop}
	m.note(before, 0)
	began := time.Now()
	m.done.Go(func() {
		tick := time.NewTicker(max(sampleEvery, duration/samples))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if d, err := s.drop(ctx, before.ID); err == nil {
				m.note(d, time.Since(began))
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
		m.sums.failedf("after %.1f s: %v", at.Seconds(), err)
		return
	}
	m.sums.ok()
}

// last is the newest reading.
func (m *sampler) last() StockPoint {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.points[len(m.points)-1]
}

// end stops it; what it has read may then be looked at freely.
func (m *sampler) end() {
	m.stop()
	m.done.Wait()
}
