package live

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"
	"golang.org/x/time/rate"
)

const (
	// maxClientFrame is the greatest frame that a client may send, in bytes: it
	// needs to send nothing.
	maxClientFrame = 1 << 10
	// maxNamedDrops is how many drops a client may narrow its feed to.
	maxNamedDrops = 100
)

// ErrDrops says that the query parameter drops is no list of drop ids.
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
	if err := h.opened(); err != nil {
		return err
	}
	leave, err := h.door.enter(overWebSocket, h.cfg.Address(c))
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

// opened waits until the board is filled: ErrFull where that takes long.
func (h *Hub) opened() error {
	select {
	case <-h.loaded:
		return nil
	case <-h.stopping:
		return ErrFull
	case <-time.After(parting):
		return ErrFull // nothing could be told yet
	}
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
	return h.lines(func(ws *websocket.Conn) {
		in := ws.Locals(admittedKey).(*admitted) //nolint:forcetypeassert // Admission put it there
		if !in.late.Stop() || !h.join() {
			in.leave()
			return
		}
		defer in.leave()
		defer h.connections.Done()
		s := &socket{
			line:    h.newLine(ws, maxClientFrame, rate.NewLimiter(clientFrames, clientBurst)),
			watcher: h.watch(in.drops),
		}
		s.serve(func(int, []byte) error { return nil }, s.write) // what a client sends means nothing
	})
}

// socket is one WebSocket of /ws.
type socket struct {
	*line
	watcher *watcher
}

// write tells the client what is new, until the connection or the hub ends.
func (s *socket) write() {
	ping := time.NewTicker(s.hub.cfg.PingEvery)
	defer ping.Stop()
	frames, told := s.watcher.takeFrames()
	for {
		if len(frames) > 0 && !s.send(frames) {
			s.hangUp() // nothing more can be told
			return
		}
		if told != nil {
			told.deliver()
		}
		told = nil
		s.hub.waiting.Add(1)
		select {
		case <-s.gone:
			s.hub.waiting.Add(-1)
			return
		case <-s.hub.stopping:
			s.hub.waiting.Add(-1)
			s.farewell(errGoingAway)
			return
		case data := <-s.pongs:
			frames = appendFrame(nil, opPong, []byte(data))
		case <-ping.C:
			// Pages do not see pings: the time tells them that the line is alive.
			frames = appendEvent(appendFrame(nil, opPing, nil), "time", timeData{stamp(s.hub.clock.now())})
		case <-s.watcher.bell():
			frames, told = s.watcher.takeFrames()
		}
		s.hub.waiting.Add(-1)
	}
}
