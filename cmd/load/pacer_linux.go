package load

import (
	"context"
	"runtime"
	"syscall"
	"time"
)

// pacer rests for short times exactly. Go's own timers come up to a millisecond
// late where a process has little to do, which would be counted as the server's
// time; so the schedule has a thread of its own that sleeps in the kernel.
type pacer struct{}

func newPacer() pacer {
	runtime.LockOSThread()
	return pacer{}
}

func (pacer) close() { runtime.UnlockOSThread() }

// coarse is the time from which Go's timers are exact enough, and can be
// cancelled.
const coarse = 5 * time.Millisecond

func (pacer) pause(ctx context.Context, d time.Duration) {
	if d > 2*coarse {
		select {
		case <-ctx.Done():
		case <-time.After(d - coarse):
		}
		return
	}
	ts := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&ts, nil) // a signal ends it early: the schedule looks again
}
