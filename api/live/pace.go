package live

import (
	"context"
	"time"
)

// pace spaces the rounds. When telling everybody takes long, rounds come less
// often, so that it leaves the machine to the sale: the state told is as new,
// there are only fewer steps on the way to it.
type pace struct {
	every time.Duration
}

const (
	// share is the part of the time that telling may take: after a round that
	// took t, the next begins at least share × t after it began.
	share = 3
	// patience is how long a round is waited for whose readers are all stuck.
	patience = 250 * time.Millisecond
)

// wait waits until the round after last may go out; false if ctx ended.
func (p pace) wait(ctx context.Context, last *round) bool {
	at := last.started.Add(p.every)
	if last.number > 1 {
		timer := time.NewTimer(time.Until(last.started.Add(patience)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-last.done:
			timer.Stop()
			at = last.started.Add(min(max(p.every, share*last.took), patience))
		case <-timer.C:
		}
	}
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
