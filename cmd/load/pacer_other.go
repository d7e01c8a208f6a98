//go:build !linux

package load

import (
	"context"
	"time"
)

// pacer rests by Go's timers.
type pacer struct{}

func newPacer() pacer { return pacer{} }

func (pacer) close() {}

func (pacer) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
