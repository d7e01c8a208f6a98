package live

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"
	"golang.org/x/time/rate"
)

const (
	// What a client may send: it needs to send nothing.
	maxClientFrame = 1 << 10 // bytes
	clientFrames   = 10      // a second
	clientBurst    = 50
	// sendBuffer bounds what the kernel keeps for a client that does not read,
	// so that it soon counts as slow and gets the newest state when it is back.
	sendBuffer = 64 << 10
	// parting is how long a connection that has to end may take to accept why.
	parting = time.Second
	// maxNamedDrops is how many drops a client may narrow its feed to.
	maxNamedDrops = 100
)

// ErrDrops: the query parameter drops is no list of drop ids.
var ErrDrops = errors.New("drops must be at most 100 ids, with commas between them")

// Admission is a fiber handler that lets a WebSocket handshake pass. It returns
// ErrDrops, ErrFull or ErrTooMany, or fiber.ErrUpgradeRequired.
func (h *Hub) Admission(c *fiber.Ctx) error {
	if !websocket.IsWebSocketUpgrade(c) {
		return fiber.ErrUpgradeRequired
	}
	drops, err := namedDrops(c.Query("drops"))
	if err != nil {
		return err
	}
	select {
	case <-h.loaded:
	case <-h.stopping:
		return ErrFull
	case <-time.After(parting):
		return ErrFull // nothing could be told yet
	}
	leave, err := h.door.enter(overWebSocket, c.IP())
	if err != nil {
		return err
	}
	in := &admitted{drops: drops, leave: leave}
	// A client that is gone before the answer reached it never gets in.
	in.late = time.AfterFunc(parting, leave)
	c.Locals(admittedKey, in)
	if err := c.Next(); err != nil {
		in.late.Stop()
		leave()
		return err
	}
	return nil
}

const admittedKey = "live"

// admitted goes from the handshake to the connection.
type admitted struct {
	drops []int64
	leave func()
	late  *time.Timer // leaves, unless it is stopped
}

// namedDrops reads ids with commas between them; empty for none.
func namedDrops(list string) ([]int64, error) {
	if list == "" {
		return nil, nil
	}
	names := strings.Split(list, ",")
	if len(names) > maxNamedDrops {
		return nil, ErrDrops
	}
	drops := make([]int64, len(names))
	for i, name := range names {
		n, err := strconv.ParseInt(strings.TrimSpace(name), 10, 64)
		if err != nil || n < 1 {
			return nil, ErrDrops
		}
		drops[i] = n
	}
	return drops, nil
}

// Upgrade is a fiber handler that makes a WebSocket of an admitted handshake
// and serves it until it ends.
func (h *Hub) Upgrade() fiber.Handler {
	return websocket.New(func(ws *websocket.Conn) {
		in := ws.Locals(admittedKey).(*admitted) //nolint:forcetypeassert // Admission put it there
		if !in.late.Stop() || !h.join() {
			in.leave()
			return
		}
		defer in.leave()
		defer h.connections.Done()
		s := &socket{
			hub: h, ws: ws, conn: ws.NetConn(), watcher: h.watch(in.drops),
			gone: make(chan struct{}), pongs: make(chan string, 1),
		}
		s.serve()
	}, websocket.Config{
		ReadBufferSize:  512,
		WriteBufferSize: 128, // the library writes control frames alone
		RecoverHandler:  h.recover,
	})
}

func (h *Hub) recover(*websocket.Conn) {
	if cause := recover(); cause != nil {
		h.log.Error("panic in a WebSocket", "cause", cause)
	}
}

// socket is one WebSocket: one goroutine reads what the client sends, another
// writes.
type socket struct {
	hub     *Hub
	ws      *websocket.Conn
	conn    net.Conn
	watcher *watcher
	gone    chan struct{} // closed when nothing more is read
	pongs   chan string   // a ping to be answered
	parted  atomic.Bool   // the client was told why it has to go
}

func (s *socket) serve() {
	// The connection below the library's and the server's own.
	below, _ := s.conn.(interface{ UnsafeConn() net.Conn })
	var tcp any
	if below != nil {
		tcp = below.UnsafeConn()
	}
	if tcp, ok := tcp.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // else it has the kernel's size
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.write()
	}()
	s.read()
	close(s.gone)
	<-written // the connection is somebody else's after the return
	if tcp, ok := tcp.(interface{ Linger() }); ok && s.parted.Load() {
		tcp.Linger() // else the client might see a reset, and not why
	}
}

var errFlood = errors.New("too many frames")

// read takes what the client sends, which means nothing, and ends with the
// connection or when it sends too much.
func (s *socket) read() {
	limit := rate.NewLimiter(clientFrames, clientBurst)
	heard := func() error {
		_ = s.conn.SetReadDeadline(time.Now().Add(s.hub.cfg.PingEvery * 5 / 2)) // fails on a closed one, which reads no more
		if !limit.Allow() {
			return errFlood
		}
		return nil
	}
	s.ws.SetReadLimit(maxClientFrame)
	s.ws.SetPongHandler(func(string) error { return heard() })
	s.ws.SetPingHandler(func(data string) error {
		select {
		case s.pongs <- data:
		default: // a later pong answers for earlier pings too (RFC 6455, section 5.5.3)
		}
		return heard()
	})
	for err := heard(); err == nil; {
		var frame io.Reader
		if _, frame, err = s.ws.NextReader(); err == nil {
			if err = heard(); err == nil {
				_, err = io.Copy(io.Discard, frame)
			}
		}
		switch {
		case errors.Is(err, errFlood):
			s.part("flood", closeFrame(closePolicy, "too many frames"), parting)
		case errors.Is(err, websocket.ErrReadLimit):
			s.part("too_big", nil, parting) // the library has said so
		case errors.Is(err, os.ErrDeadlineExceeded) && !s.parted.Load():
			s.hub.metrics.closed.WithLabelValues("silent").Inc()
		}
	}
}

// part ends the connection and tells the client why by these last frames, if
// it takes them within the time.
func (s *socket) part(reason string, last []byte, within time.Duration) {
	s.hub.metrics.closed.WithLabelValues(reason).Inc()
	s.parted.Store(true)
	deadline := time.Now().Add(within)
	_ = s.conn.SetWriteDeadline(deadline)
	_, _ = s.conn.Write(last)            // to a client that may be gone
	_ = s.conn.SetReadDeadline(deadline) // for its own close frame
}

// send writes frames; false if the client did not take them.
func (s *socket) send(frames []byte) bool {
	n, err := s.hub.gate.write(s.conn, frames)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		frames = frames[n:]
		_ = s.conn.SetWriteDeadline(time.Now().Add(s.hub.cfg.WriteTimeout))
		n, err = s.conn.Write(frames)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// Once more as long, for one that comes back to read why.
		s.part("slow", slices.Concat(frames[n:], closeFrame(closeSlow, "too slow")), s.hub.cfg.WriteTimeout)
	}
	return err == nil
}

// write tells the client what is new, until the connection or the hub ends.
func (s *socket) write() {
	ping := time.NewTicker(s.hub.cfg.PingEvery)
	defer ping.Stop()
	frames, told := s.watcher.takeFrames()
	for {
		if len(frames) > 0 && !s.send(frames) {
			_ = s.conn.SetReadDeadline(time.Now()) // nothing more can be told, so it ends
			return
		}
		if told != nil {
			told.deliver()
		}
		frames, told = nil, nil
		s.hub.waiting.Add(1)
		select {
		case <-s.gone:
			s.hub.waiting.Add(-1)
			return
		case <-s.hub.stopping:
			s.hub.waiting.Add(-1)
			s.part("shutdown", closeFrame(closeGoingAway, "going away"), parting)
			return
		case data := <-s.pongs:
			frames = appendFrame(nil, opPong, []byte(data))
		case <-ping.C:
			frames = appendFrame(nil, opPing, nil)
		case <-s.watcher.bell():
			frames, told = s.watcher.takeFrames()
		}
		s.hub.waiting.Add(-1)
	}
}
