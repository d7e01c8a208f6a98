package api

import (
	"context"
	"sync/atomic"
	"time"
)

// deadlines gives requests the context that bounds how long they may wait.
// Those that come within a step of one another share one, and its timer: a
// context of its own costs a request more than reading its body does.
type deadlines struct {
	timeout time.Duration
	newest  atomic.Pointer[sharedDeadline]
}

type sharedDeadline struct {
	ctx    context.Context
	cancel context.CancelFunc // never called: the deadline ends it
	until  time.Time          // when the next is made
}

// deadlineSteps is how many contexts are made in the time of one timeout.
const deadlineSteps = 100

// next is a context that ends after the timeout, or up to a hundredth later.
func (d *deadlines) next() context.Context {
	now := time.Now()
	shared := d.newest.Load()
	if shared != nil && now.Before(shared.until) {
		return shared.ctx
	}
	step := d.timeout / deadlineSteps
	fresh := &sharedDeadline{until: now.Add(step)}
	fresh.ctx, fresh.cancel = context.WithDeadline(context.Background(), now.Add(d.timeout+step))
	if !d.newest.CompareAndSwap(shared, fresh) { // somebody else was quicker
		fresh.cancel()
		return d.newest.Load().ctx
	}
	return fresh.ctx
}
