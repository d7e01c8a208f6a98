package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// combiner puts requests for one drop that arrive while a call is in flight
// into the next call. There is no timer: an idle drop's request is sent at
// once, and under load the batches grow by themselves to what one round trip
// lets arrive.
//
// Each drop has a lane of its own, so a hot drop does not delay the others.
// A lane lives while it has work and is served by at most inFlight goroutines,
// which stop waits for.
type combiner[Q, R any] struct {
	limits combinerLimits
	// send makes one call for the batch and gives each member its outcome.
	send func(ctx context.Context, drop int64, batch []*member[Q, R])

	mu      sync.Mutex
	lanes   map[int64]*lane[Q, R]
	stopped bool
	flights sync.WaitGroup
	members sync.Pool // of *member[Q, R]
}

type combinerLimits struct {
	batch, queue, inFlight int
	timeout                time.Duration // of one call
	name                   string        // of the call
	tracer                 trace.Tracer  // nil: nothing is traced
}

type lane[Q, R any] struct {
	waiting []*member[Q, R]
	flights int
}

// member is one request of a batch.
type member[Q, R any] struct {
	req  Q
	res  R
	err  error
	from context.Context // of the caller, where calls are traced
	// done has room for the one word that the outcome is there, so that nobody
	// waits for a caller who has left.
	done chan struct{}
}

func newCombiner[Q, R any](limits combinerLimits, send func(context.Context, int64, []*member[Q, R])) *combiner[Q, R] {
	return &combiner[Q, R]{
		limits: limits, send: send, lanes: map[int64]*lane[Q, R]{},
		members: sync.Pool{New: func() any { return &member[Q, R]{done: make(chan struct{}, 1)} }},
	}
}

// errNotSent comes with ErrUnavailable where the request left before it was sent.
var errNotSent = errors.New("not sent")

// do sends the request with the drop's next batch and returns its outcome.
// It returns ErrOverloaded when the lane is full or the combiner is stopped,
// and ErrUnavailable when ctx ends first; the request was then not sent
// (errNotSent), or its outcome is unknown.
func (c *combiner[Q, R]) do(ctx context.Context, drop int64, req Q) (R, error) {
	m := c.members.Get().(*member[Q, R]) //nolint:forcetypeassert // nothing else is in the pool
	m.req = req
	if c.limits.tracer != nil {
		m.from = ctx
	}
	if err := c.enqueue(drop, m); err != nil {
		return m.res, err
	}
	select {
	case <-m.done:
		res, err := m.res, m.err
		// Only what came back is used again: a member that its caller leaves
		// may still be in a batch.
		*m = member[Q, R]{done: m.done}
		c.members.Put(m)
		return res, err
	case <-ctx.Done():
		var none R
		if c.abandon(drop, m) {
			return none, fmt.Errorf("%w: %w: %w", ErrUnavailable, errNotSent, context.Cause(ctx))
		}
		return none, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}

func (c *combiner[Q, R]) enqueue(drop int64, m *member[Q, R]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return fmt.Errorf("%w: stopping", ErrOverloaded)
	}
	l := c.lanes[drop]
	if l == nil {
		l = &lane[Q, R]{}
		c.lanes[drop] = l
	}
	if len(l.waiting) >= c.limits.queue {
		return fmt.Errorf("%w: %d requests wait for drop %d", ErrOverloaded, len(l.waiting), drop)
	}
	l.waiting = append(l.waiting, m)
	if l.flights < c.limits.inFlight {
		l.flights++
		c.flights.Add(1)
		go c.fly(drop, l)
	}
	return nil
}

// abandon takes a request out that nobody waits for any more, unless it is in a
// batch already: its place is another's, and it is not sent. It says whether it
// took it out.
func (c *combiner[Q, R]) abandon(drop int64, m *member[Q, R]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.lanes[drop]; l != nil {
		if i := slices.Index(l.waiting, m); i >= 0 {
			l.waiting = slices.Delete(l.waiting, i, i+1)
			return true
		}
	}
	return false
}

// fly sends batch after batch until nothing waits.
func (c *combiner[Q, R]) fly(drop int64, l *lane[Q, R]) {
	defer c.flights.Done()
	batch := make([]*member[Q, R], 0, 8)
	for {
		batch = c.take(drop, l, batch[:0])
		if len(batch) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), c.limits.timeout)
		if c.limits.tracer == nil {
			c.send(ctx, drop, batch)
		} else {
			ctx, end := c.span(ctx, drop, batch)
			c.send(ctx, drop, batch)
			end()
		}
		cancel()
		for i, m := range batch {
			batch[i] = nil // it is its caller's from here on
			m.done <- struct{}{}
		}
	}
}

// take moves the next batch out of the lane. An empty one ends the flight, and
// the last flight takes the lane away.
func (c *combiner[Q, R]) take(drop int64, l *lane[Q, R], batch []*member[Q, R]) []*member[Q, R] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped { // what waits is not sent any more
		for _, m := range l.waiting {
			m.err = fmt.Errorf("%w: stopping", ErrOverloaded)
			m.done <- struct{}{}
		}
		l.waiting = nil
	}
	n := min(len(l.waiting), c.limits.batch)
	batch = append(batch, l.waiting[:n]...)
	l.waiting = slices.Delete(l.waiting, 0, n)
	if n == 0 {
		l.flights--
		if l.flights == 0 {
			delete(c.lanes, drop)
		}
	}
	return batch
}

// stop refuses what waits and what comes, and waits until all flights have
// landed: at most the time of one call.
func (c *combiner[Q, R]) stop() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.flights.Wait()
}

// fail gives every member of the batch the same error.
func fail[Q, R any](batch []*member[Q, R], err error) {
	for _, m := range batch {
		m.err = err
	}
}
