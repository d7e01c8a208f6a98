package api

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
)

// An instance that leaves answers what it has taken. To close a listener
// resets the connections that wait to be accepted, and the server closes
// connections that have said nothing yet, though their first bytes may be on
// the way. So leaving takes three steps: accept what waits and close the
// listener; give the connections a moment, in which each answer is their last;
// close those that said nothing.

const (
	// doorTime is how long a closing door goes on accepting.
	doorTime = 20 * time.Millisecond
	// lastWordsTime is how long a connection has to say what it was made for.
	lastWordsTime = 250 * time.Millisecond
)

// door is a listener that accepts what waits before it closes.
type door struct {
	net.Listener
	leaving atomic.Bool
	waiting []net.Conn // accepted at last; used by Accept alone
	once    sync.Once
	closed  chan struct{}
}

func newDoor(l net.Listener) *door { return &door{Listener: l, closed: make(chan struct{})} }

// Accept waits for the next connection.
func (d *door) Accept() (net.Conn, error) {
	if len(d.waiting) == 0 {
		c, err := d.Listener.Accept()
		if err == nil || !d.leaving.Load() || !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
		d.waiting = acceptWaiting(d.Listener)
		_ = d.Close() // accepting is over either way
	}
	if len(d.waiting) == 0 {
		return nil, net.ErrClosed
	}
	c := d.waiting[0]
	d.waiting = d.waiting[1:]
	return c, nil
}

// Close closes the listener; what waits is lost. Repeating it is no error.
func (d *door) Close() (err error) {
	d.once.Do(func() {
		err = d.Listener.Close()
		close(d.closed)
	})
	return err
}

// leave accepts what waits, and closes the listener.
func (d *door) leave(ctx context.Context) {
	l, ok := d.Listener.(interface{ SetDeadline(t time.Time) error })
	d.leaving.Store(true)
	if !ok || l.SetDeadline(time.Now().Add(doorTime)) != nil {
		return // closed when the server is
	}
	select {
	case <-d.closed:
	case <-ctx.Done():
	}
}

// closeDoors has new connections refused, and each answer be its connection's last.
func (a *API) closeDoors(ctx context.Context) {
	var closing sync.WaitGroup
	for _, d := range []*door{a.door.Load(), a.back.Load()} {
		if d != nil {
			a.leaving.Store(true)
			closing.Go(func() { d.leave(ctx) })
		}
	}
	closing.Wait()
}

// lastWords gives the connections that are here a moment.
func (a *API) lastWords(ctx context.Context) {
	if !a.leaving.Load() {
		return // it never served
	}
	moment := time.NewTimer(lastWordsTime)
	defer moment.Stop()
	select {
	case <-moment.C:
	case <-ctx.Done():
	}
}

// lastAnswer has an instance that leaves say so with each answer.
func (a *API) lastAnswer(c *fiber.Ctx) error {
	err := c.Next()
	if a.leaving.Load() {
		c.Context().SetConnectionClose()
	}
	return err
}
