package api

import (
	"time"

	"github.com/gofiber/fiber/v2"
)

// Who calls again as soon as there is an answer is slowed down by nothing so much as
// by answers that take their time. So the answer to one who is over a limit waits a
// moment, which costs the server a sleeping goroutine, and others get what the next call
// would have cost.

const (
	// refusalPause is how long a 429 waits.
	refusalPause = 200 * time.Millisecond
	// maxPauses is how many may wait at once. Others are sent at once: to wait must
	// not become what an attacker uses up.
	maxPauses = 1024
)

// pauses are the answers that wait.
type pauses struct {
	rooms chan struct{}
	each  time.Duration
}

func newPauses(most int, each time.Duration) pauses {
	return pauses{rooms: make(chan struct{}, most), each: each}
}

// take waits, if there is room.
func (p pauses) take() {
	select {
	case p.rooms <- struct{}{}:
		time.Sleep(p.each)
		<-p.rooms
	default:
	}
}

// unhurried has an answer to one who is over a limit wait. It stands outside of what
// logs, traces and metrics measure: that is how long the server takes.
func (a *API) unhurried(c *fiber.Ctx) error {
	err := c.Next()
	if c.Response().StatusCode() == fiber.StatusTooManyRequests {
		a.pauses.take()
	}
	return err
}
