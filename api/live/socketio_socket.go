package live

import (
	"time"

	"github.com/gofiber/contrib/websocket"
)

// serveSession serves a WebSocket: of a session that begins by it, or of one
// that goes over to it from polling.
func (h *Hub) serveSession(ws *websocket.Conn) {
	s := ws.Locals(sessionKey).(*session) //nolint:forcetypeassert // the handshake put it there
	if !h.join() {
		return // the hub has ended the session
	}
	defer h.connections.Done()
	l := h.newLine(ws, maxPacket, s.limit)
	if s.polls && !s.tries(l) || !s.goOver() {
		return // a session that polls may go on doing so
	}
	defer s.end(nil)
	l.serve(func(kind int, packet []byte) error {
		if kind == websocket.BinaryMessage {
			packet = []byte(packetBinary) // as the same would come in a post
		}
		return s.hear(string(packet))
	}, func() { s.write(l) })
}

// tries has a client that polls try a WebSocket: packets must go both ways
// before the client may go over. False if it does not.
func (s *session) tries(l *line) bool {
	if !s.beginTrial(l) {
		return false
	}
	defer s.endTrial(l)
	if !l.brings(packetProbe) {
		return false
	}
	s.mu.Lock()
	s.probed = true
	s.mu.Unlock()
	ring(s.kick) // the client goes over once its poll is answered
	if _, err := l.conn.Write(appendFrame(nil, opText, []byte(packetProbed))); err != nil {
		return false
	}
	return l.brings(packetUpgrade)
}

func (s *session) beginTrial(l *line) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probe != nil || s.onSocket || s.ended {
		return false
	}
	s.probe, l.trial = l, true
	_ = l.conn.SetDeadline(time.Now().Add(s.hub.cfg.WriteTimeout))
	return true
}

func (s *session) endTrial(l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probe, s.probed, l.trial = nil, false, false
}

// brings says whether this is the next that the client sends.
func (l *line) brings(packet string) bool {
	_, got, err := l.ws.ReadMessage()
	return err == nil && string(got) == packet
}

// goOver gives the session to a WebSocket; false if that may not have it.
func (s *session) goOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.onSocket || s.polling { // while it polls the client may not
		return false
	}
	s.onSocket = true
	s.absent.Stop()
	return true
}

// write tells the client what is new, until the connection or the session ends.
func (s *session) write(l *line) {
	ping := time.NewTicker(s.hub.cfg.PingEvery)
	defer ping.Stop()
	var first []byte // comes before what is new
	for {
		replies, news, told := s.take()
		for _, r := range replies {
			first = appendFrame(first, opText, []byte(r))
		}
		frames := news.frames
		if len(first) > 0 {
			frames = append(first, frames...)
		}
		if len(frames) > 0 && !l.send(frames) {
			l.hangUp() // nothing more can be told
			return
		}
		if told != nil {
			told.deliver()
		}
		first = nil
		bell, done := s.listen()
		select {
		case <-l.gone:
			done()
			return
		case <-s.gone:
			done()
			if s.why == nil {
				l.hangUp()
			} else {
				l.farewell(s.why)
			}
			return
		case data := <-l.pongs:
			first = appendFrame(nil, opPong, []byte(data))
		case <-ping.C:
			first = appendFrame(nil, opText, []byte(packetPing))
		case <-s.kick:
		case <-bell:
		}
		done()
	}
}
