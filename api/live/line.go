package live

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	fastws "github.com/fasthttp/websocket" // whose errors the other does not pass on as its own
	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"
	"golang.org/x/time/rate"
)

const (
	// What a client may send: it needs to send next to nothing.
	clientFrames = 10 // a second
	clientBurst  = 50
	// And in bytes, as a multiple of what one frame may have: a message in
	// endless empty parts would never be counted as one.
	clientBytes = 4
	// sendBuffer bounds what the kernel keeps for a client that does not read,
	// so that it soon counts as slow and gets the newest state when it is back.
	sendBuffer = 64 << 10
	// parting is how long a connection that has to end may take to accept why.
	parting = time.Second
)

// farewellError is why a connection has to end: as it is counted, and as the
// client is told.
type farewellError struct {
	reason string
	code   uint16
	text   string
}

func (e *farewellError) Error() string { return e.text }

var (
	errFlood     = &farewellError{"flood", closePolicy, "too many frames"}
	errGoingAway = &farewellError{"shutdown", closeGoingAway, "going away"}
)

// errParted: the connection ends already, from this side.
var errParted = errors.New("the connection has ended")

// line is a WebSocket as both doors have it: one goroutine reads what the
// client sends, another writes.
type line struct {
	hub    *Hub
	ws     *websocket.Conn
	conn   net.Conn
	limit  *rate.Limiter
	gone   chan struct{} // closed when nothing more is read
	pongs  chan string   // a ping to be answered
	parted atomic.Bool   // the end has begun from this side

	writing sync.Mutex
	slow    bool // it held up the gate the last time, and does without it now

	trial bool // the deadline for reading stands
}

// lines is a fiber handler that makes a WebSocket of a handshake and serves it.
func (h *Hub) lines(serve func(*websocket.Conn)) fiber.Handler {
	return websocket.New(serve, websocket.Config{
		ReadBufferSize:  512,
		WriteBufferSize: 128, // the library writes control frames alone
		RecoverHandler:  h.recover,
	})
}

func (h *Hub) recover(*websocket.Conn) {
	if cause := recover(); cause != nil { //nolint:revive // the library defers this function
		h.log.Error("panic in a WebSocket", "cause", cause)
	}
}

// newLine makes a line whose client may send frames of at most so many bytes.
func (h *Hub) newLine(ws *websocket.Conn, maxFrame int64, limit *rate.Limiter) *line {
	l := &line{
		hub: h, ws: ws, conn: ws.NetConn(), limit: limit,
		gone: make(chan struct{}), pongs: make(chan string, 1),
	}
	if c, ok := l.below().(interface{ OnRead(f func(bytes int) error) }); ok {
		budget := rate.NewLimiter(rate.Limit(maxFrame), clientBytes*int(maxFrame))
		c.OnRead(func(bytes int) error {
			if !budget.AllowN(time.Now(), bytes) {
				return errFlood
			}
			return nil
		})
	}
	ws.SetReadLimit(maxFrame)
	ws.SetPongHandler(func(string) error { return l.heard() })
	ws.SetPingHandler(func(data string) error {
		select {
		case l.pongs <- data:
		default: // a later pong answers for earlier pings too (RFC 6455, section 5.5.3)
		}
		return l.heard()
	})
	return l
}

// serve has write tell the client what is new, and take take what the client
// sends, until the connection has ended.
func (l *line) serve(take func(kind int, packet []byte) error, write func()) {
	below := l.below()
	if tcp, ok := below.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // else it has the kernel's size
	}
	// A client that is stuck must not hold up the end of the hub. This may come
	// when l.conn is somebody else's already.
	stop := context.AfterFunc(l.hub.life, func() { _ = below.SetWriteDeadline(time.Now().Add(parting)) })
	defer stop()
	written := make(chan struct{})
	go func() {
		defer close(written)
		write()
	}()
	defer func() {
		close(l.gone)
		<-written // the connection is somebody else's after the return
		if tcp, ok := below.(interface{ Linger() }); ok && l.parted.Load() {
			tcp.Linger() // else the client might see a reset, and not why
		}
	}()
	l.read(take)
}

// below is the connection below the library's and the server's own.
func (l *line) below() net.Conn {
	if hijacked, ok := l.conn.(interface{ UnsafeConn() net.Conn }); ok {
		return hijacked.UnsafeConn()
	}
	return l.conn
}

// heard notes a sign of life of the client.
func (l *line) heard() error {
	if !l.trial {
		_ = l.conn.SetReadDeadline(time.Now().Add(l.hub.cfg.PingEvery * 5 / 2)) // fails on a closed one, which reads no more
	}
	switch {
	case l.parted.Load(): // or frames that still come would put off the end
		return errParted
	case !l.limit.Allow():
		return errFlood
	}
	return nil
}

// read ends with the connection, or when the client sends what it must not.
func (l *line) read(take func(kind int, packet []byte) error) {
	for err := l.heard(); err == nil; {
		var kind int
		var packet []byte
		if kind, packet, err = l.ws.ReadMessage(); err == nil {
			if err = l.heard(); err == nil {
				err = take(kind, packet)
			}
		}
		var why *farewellError
		switch {
		case errors.As(err, &why):
			l.farewell(why)
		case errors.Is(err, fastws.ErrReadLimit):
			l.part("too_big", nil, parting) // the library has said so
		case errors.Is(err, os.ErrDeadlineExceeded) && !l.parted.Load():
			l.hub.metrics.closed.WithLabelValues("silent").Inc()
		}
	}
}

// farewell ends the connection and tells the client why.
func (l *line) farewell(why *farewellError) {
	l.part(why.reason, closeFrame(why.code, why.text), parting)
}

// part ends the connection and tells the client why by these last frames, if
// it takes them within the time.
func (l *line) part(reason string, last []byte, within time.Duration) {
	l.writing.Lock() // not into the middle of a frame
	defer l.writing.Unlock()
	l.partLocked(reason, last, within)
}

func (l *line) partLocked(reason string, last []byte, within time.Duration) {
	l.hub.metrics.closed.WithLabelValues(reason).Inc()
	l.parted.Store(true)
	deadline := time.Now().Add(within)
	_ = l.conn.SetWriteDeadline(deadline)
	_, _ = l.conn.Write(last)            // to a client that may be gone
	_ = l.conn.SetReadDeadline(deadline) // for its own close frame
}

// send writes frames; false if the client did not take them.
func (l *line) send(frames []byte) bool {
	l.writing.Lock()
	defer l.writing.Unlock()
	started, n, err := time.Now(), 0, os.ErrDeadlineExceeded
	if !l.slow {
		n, err = l.hub.gate.write(l.conn, frames)
	}
	within := l.hub.cfg.WriteTimeout
	if errors.Is(err, os.ErrDeadlineExceeded) {
		frames = frames[n:]
		_ = l.conn.SetWriteDeadline(time.Now().Add(within))
		if l.hub.isStopping() { // asked after, or this would put off the end's own deadline
			within = parting
			_ = l.conn.SetWriteDeadline(time.Now().Add(within))
		}
		n, err = l.conn.Write(frames)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// Once more as long, for one that comes back to read why.
		l.partLocked("slow", slices.Concat(frames[n:], closeFrame(closeSlow, "too slow")), within)
	}
	l.slow = time.Since(started) >= gateTime
	return err == nil
}

// hangUp has nothing more read, so that the connection ends.
func (l *line) hangUp() {
	l.parted.Store(true)
	_ = l.conn.SetReadDeadline(time.Now())
}
