package live

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"
	"golang.org/x/time/rate"
)

// The door for socket.io-client 4 speaks
//
//   - Engine.IO 4 (https://socket.io/docs/v4/engine-io-protocol/): a session is
//     a handshake, and then polls (GET) and posts, or a WebSocket, or first the
//     one and then the other; either carries packets of one digit and its data;
//   - of Socket.IO 5 (https://socket.io/docs/v4/socket-io-protocol/) what a
//     client needs that only listens: it joins the namespace / and is sent events.

const (
	// maxPacket is what a client may send at once, in bytes. A handshake tells it
	// so; of a post it is the server's limit of a body.
	maxPacket = 16 << 10

	// Packets of Engine.IO, and of Socket.IO within its messages (4).
	packetOpen, packetClose, packetPing, packetPong = "0", "1", "2", "3"
	packetUpgrade, packetNoop                       = "5", "6"
	packetProbe, packetProbed                       = "2probe", "3probe"
	packetMessage, packetBinary                     = "4", "b"
	packetJoin, packetLeave, packetNoJoin           = "40", "41", "44"

	separator = 0x1e // between packets of one poll or post
)

// packets are events as WebSockets are sent them, and as polls are answered
// with them. They are shared: nobody changes them.
type packets struct{ frames, payload []byte }

func (p *packets) add(event string, data any) {
	text, err := json.Marshal([]any{event, data})
	if err != nil { // of the types below: it cannot be
		panic(err)
	}
	text = append([]byte("42"), text...)
	p.frames = appendFrame(p.frames, opText, text)
	if len(p.payload) > 0 {
		p.payload = append(p.payload, separator)
	}
	p.payload = append(p.payload, text...)
}

// stockPacket is a stock_update in the form of the replaced backend.
type stockPacket struct {
	DropID         int64  `json:"dropId"`
	AvailableStock int64  `json:"available_stock"`
	Reason         string `json:"reason,omitempty"`
}

func packetsOf(all []news) (p packets) {
	for _, n := range all {
		if n.stock != nil {
			p.add("stock_update", stockPacket{n.drop, n.stock.AvailableStock, n.stock.Reason})
		}
		for _, s := range n.sales {
			p.add("purchase_complete", saleData{n.drop, s.User, s.Reservation})
		}
	}
	return p
}

// refusalError is an answer as Engine.IO has it.
type refusalError struct {
	status  int
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (r *refusalError) Error() string { return r.Message }

var (
	errTransport = &refusalError{fiber.StatusBadRequest, 0, "Transport unknown"}
	errSession   = &refusalError{fiber.StatusBadRequest, 1, "Session ID unknown"}
	errMethod    = &refusalError{fiber.StatusBadRequest, 2, "Bad handshake method"}
	errRequest   = &refusalError{fiber.StatusBadRequest, 3, "Bad request"}
	errVersion   = &refusalError{fiber.StatusBadRequest, 5, "Unsupported protocol version"}
)

// SocketIO is a fiber handler of all methods that serves Socket.IO. It returns
// ErrFull or ErrTooMany, or what the upgrade to a WebSocket returns.
func (h *Hub) SocketIO() fiber.Handler {
	upgrade := h.lines(h.serveSession)
	return func(c *fiber.Ctx) error {
		err := h.routeSocketIO(c, upgrade)
		var refusal *refusalError
		if errors.As(err, &refusal) {
			return c.Status(refusal.status).JSON(refusal)
		}
		return err
	}
}

func (h *Hub) routeSocketIO(c *fiber.Ctx, upgrade fiber.Handler) error {
	transport, id := c.Query("transport"), c.Query("sid")
	overSocket := transport == "websocket"
	switch {
	case transport != "polling" && !overSocket:
		return errTransport
	case c.Query("EIO") != "4":
		return errVersion
	case overSocket != websocket.IsWebSocketUpgrade(c):
		return errRequest
	case id == "" && c.Method() != fiber.MethodGet:
		return errMethod
	case id == "" && overSocket:
		return h.beginOnSocket(c, upgrade)
	case id == "":
		return h.beginPolling(c)
	}
	s := h.sessions.find(id)
	switch {
	case s == nil:
		return errSession
	case overSocket:
		c.Locals(sessionKey, s)
		return upgrade(c)
	case c.Method() == fiber.MethodGet:
		return s.poll(c)
	case c.Method() == fiber.MethodPost:
		return s.post(c)
	}
	return errRequest
}

const sessionKey = "session"

// beginOnSocket begins a session by a WebSocket.
func (h *Hub) beginOnSocket(c *fiber.Ctx, upgrade fiber.Handler) error {
	s, err := h.newSession(h.cfg.Address(c), false)
	if err != nil {
		return err
	}
	s.replies = []string{s.open()}
	c.Locals(sessionKey, s)
	if err := upgrade(c); err != nil {
		s.end(nil)
		return err
	}
	return nil
}

// beginPolling begins a session by an answer.
func (h *Hub) beginPolling(c *fiber.Ctx) error {
	s, err := h.newSession(h.cfg.Address(c), true)
	if err != nil {
		return err
	}
	return answer(c, []byte(s.open("websocket")))
}

// newSession lets a client in who has not got its session's id yet. It returns
// ErrFull or ErrTooMany.
func (h *Hub) newSession(address string, polls bool) (*session, error) {
	if err := h.opened(); err != nil {
		return nil, err
	}
	leave, err := h.door.enter(overSocketIO, address)
	if err != nil {
		return nil, err
	}
	s := &session{
		hub: h, id: newID(), polls: polls, leave: leave, limit: rate.NewLimiter(clientFrames, clientBurst),
		gone: make(chan struct{}), kick: make(chan struct{}, 1), pingAt: time.Now().Add(h.cfg.PingEvery),
	}
	s.mu.Lock()
	s.absent = time.AfterFunc(h.cfg.WriteTimeout, s.endAbsent)
	s.unjoined = time.AfterFunc(h.cfg.WriteTimeout, s.endUnjoined)
	s.mu.Unlock()
	h.sessions.add(s)
	if h.isStopping() { // and may have ended all sessions before this one was there
		s.end(errGoingAway)
		return nil, ErrFull
	}
	return s, nil
}

// answer answers with a payload that may be shared.
func answer(c *fiber.Ctx, payload []byte) error {
	c.Set(fiber.HeaderContentType, "text/plain; charset=UTF-8")
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Response().SetBodyRaw(payload)
	return nil
}
