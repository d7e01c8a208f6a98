package live

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
)

// noopAfter is how long a poll waits that the client wants answered, as it is
// going on over a WebSocket.
const noopAfter = 100 * time.Millisecond

// poll answers with what is new, or once there is.
func (s *session) poll(c *fiber.Ctx) error {
	if !s.beginPoll() {
		return errRequest
	}
	defer s.endPoll()
	for {
		replies, news, told := s.take()
		if now := time.Now(); now.After(s.pingAt) {
			s.pingAt = now.Add(s.hub.cfg.PingEvery)
			replies = append(replies, packetPing)
		}
		if told != nil {
			told.deliver() // the server writes the answer
		}
		if payload := withReplies(replies, news.payload); len(payload) > 0 {
			return answer(c, payload)
		}
		if reply := s.await(); reply != "" {
			return answer(c, []byte(reply))
		}
	}
}

// withReplies puts replies before a payload.
func withReplies(replies []string, payload []byte) []byte {
	if len(replies) == 0 {
		return payload
	}
	all := []byte(strings.Join(replies, string(rune(separator))))
	if len(payload) > 0 {
		all = append(append(all, separator), payload...)
	}
	return all
}

// await waits until there may be something new, or gives what the poll has to
// be answered without.
func (s *session) await() (reply string) {
	bell, done := s.listen()
	defer done()
	var noop <-chan time.Time
	if s.isProbed() {
		timer := time.NewTimer(noopAfter)
		defer timer.Stop()
		noop = timer.C
	}
	ping := time.NewTimer(time.Until(s.pingAt) + time.Millisecond)
	defer ping.Stop()
	select {
	case <-s.gone:
		return packetClose
	case <-noop:
		return packetNoop
	case <-s.kick:
	case <-bell:
	case <-ping.C:
	}
	return ""
}

// beginPoll is false if another one is under way, or polling is over.
func (s *session) beginPoll() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.polling || s.onSocket || !s.polls {
		return false
	}
	s.polling = true
	s.absent.Stop()
	return true
}

func (s *session) endPoll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polling = false
	if !s.ended {
		s.absent.Reset(s.hub.cfg.WriteTimeout)
	}
}

func (s *session) isProbed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probed
}

// post takes what the client sends.
func (s *session) post(c *fiber.Ctx) error {
	s.mu.Lock()
	mayPost := s.polls && !s.onSocket
	s.mu.Unlock()
	if !mayPost || len(c.Request().Header.ContentEncoding()) > 0 {
		return errRequest
	}
	for packet := range bytes.SplitSeq(c.Request().Body(), []byte{separator}) {
		err := error(errFlood)
		if s.limit.Allow() {
			err = s.hear(string(packet))
		}
		var why *farewellError
		if errors.As(err, &why) {
			s.end(why)
			return errRequest
		}
		if err != nil {
			s.end(nil)
			break
		}
	}
	c.Set(fiber.HeaderContentType, fiber.MIMETextHTML)
	return c.SendString("ok")
}
