package api

import (
	"io"
	"net"
	"sync/atomic"
	"time"
)

// A body that is too large is answered while the client still writes it. To
// close then, with input unread, resets the connection, and the client may see
// the reset and never the answer. So such a connection is closed in two steps:
// first the way out, then, once the client has heard and hung up, the rest.

// What a lingering connection may still send before it is closed all the same.
const (
	lingerBytes = 4 << 20
	lingerTime  = 2 * time.Second
)

type lingeringListener struct {
	net.Listener
	back bool
	// admit says whether a connection may be served, and what is called when it
	// is closed (nil: nothing). Nil: all are.
	admit func(net.Conn) (left func(), ok bool)
}

// Accept waits for the next connection that is admitted.
func (l lingeringListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.admit == nil {
			return &lingeringConn{Conn: c, back: l.back}, nil
		}
		if left, ok := l.admit(c); ok {
			return &lingeringConn{Conn: c, back: l.back, left: left}, nil
		}
		turnAway(c)
	}
}

// turnAway closes a connection by a reset: an orderly end would keep a record of
// it in the kernel for a minute, of every one of a flood.
func turnAway(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it is closed either way
	}
	_ = c.Close() // nothing was written to it
}

type lingeringConn struct {
	net.Conn
	back   bool // it came in by the back door
	linger atomic.Bool
	onRead func(bytes int) error
	left   func() // nil: nobody counts
	closed atomic.Bool
}

// OnRead has every read report how many bytes came, and fail with what f
// returns. It is called before whoever reads, by the same goroutine.
func (c *lingeringConn) OnRead(f func(bytes int) error) { c.onRead = f }

// Read reads what has come.
func (c *lingeringConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.onRead != nil {
		err = c.onRead(n)
	}
	return n, err
}

// linger has the connection closed only when the client has done so.
func linger(c net.Conn) {
	if c, ok := c.(*lingeringConn); ok {
		c.Linger()
	}
}

// Linger has Close wait until the client has closed the connection.
func (c *lingeringConn) Linger() { c.linger.Store(true) }

// SetWriteBuffer sets the size of the kernel's buffer for what is sent.
func (c *lingeringConn) SetWriteBuffer(bytes int) error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.SetWriteBuffer(bytes)
	}
	return nil
}

// Close closes the connection, after the client has if linger was called.
func (c *lingeringConn) Close() error {
	if c.left != nil && !c.closed.Swap(true) {
		defer c.left()
	}
	if out, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.linger.Swap(false) && out.CloseWrite() == nil {
		if err := c.SetReadDeadline(time.Now().Add(lingerTime)); err == nil {
			_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes) // whatever comes: nobody reads it
		}
	}
	return c.Conn.Close()
}
