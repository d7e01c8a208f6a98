package main

import (
	"context"
	"sync"
)

// combiner sends what waits together. There is no timer: a flight takes
// whatever has come while it was under way, and one request alone goes at once.
type combiner[Q, R any] struct {
	waiting chan *member[Q, R]
	flights sync.WaitGroup
}

// member is one request among those that go together.
type member[Q, R any] struct {
	req  Q
	res  R
	err  error
	done chan struct{}
}

const maxWaiting = 4096

// newCombiner has so many flights send at most so many requests each, until
// ctx ends. send gives each member its outcome.
func newCombiner[Q, R any](ctx context.Context, flights, most int, send func(context.Context, []*member[Q, R])) *combiner[Q, R] {
	c := &combiner[Q, R]{waiting: make(chan *member[Q, R], maxWaiting)}
	for range flights {
		c.flights.Go(func() { c.fly(ctx, most, send) })
	}
	return c
}

func (c *combiner[Q, R]) fly(ctx context.Context, most int, send func(context.Context, []*member[Q, R])) {
	batch := make([]*member[Q, R], 0, most)
	for {
		select {
		case m := <-c.waiting:
			batch = append(batch[:0], m)
		case <-ctx.Done():
			return
		}
	gather:
		for len(batch) < most {
			select {
			case m := <-c.waiting:
				batch = append(batch, m)
			default:
				break gather
			}
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		send(call, batch)
		cancel()
		for _, m := range batch {
			close(m.done)
		}
	}
}

// do gives the request's outcome.
func (c *combiner[Q, R]) do(ctx context.Context, req Q) (R, error) {
	m := &member[Q, R]{req: req, done: make(chan struct{})}
	select {
	case c.waiting <- m:
	case <-ctx.Done():
		return m.res, ctx.Err()
	}
	select {
	case <-m.done:
		return m.res, m.err
	case <-ctx.Done():
		var none R
		return none, ctx.Err()
	}
}
