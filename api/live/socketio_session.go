package live

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// maxReplies is how many answers may wait for a client to take them.
	maxReplies = 8
	// maxNamespace is how long a namespace's name may be, in bytes: it is repeated.
	maxNamespace = 100
)

// errBye: the client leaves.
var errBye = errors.New("the client leaves")

var (
	errPacket   = &farewellError{"malformed", closePolicy, "not a packet that a client may send"}
	errUnjoined = &farewellError{"unjoined", closePolicy, "joined nothing"}
	errAbsent   = &farewellError{"absent", closePolicy, "not polled for too long"}
)

// session is one client of Socket.IO, by whichever transport. Nothing is queued
// for it but answers to its own packets: what is new it takes from its watcher
// when it can be told, in the goroutine of its poll or of its WebSocket.
type session struct {
	hub   *Hub
	id    string
	polls bool // it began by polling
	leave func()
	limit *rate.Limiter  // of its packets
	gone  chan struct{}  // closed at its end
	why   *farewellError // it has ended, set by then; nil if the client wanted it to
	kick  chan struct{}  // there is something other than a round to look at

	pingAt time.Time // of polls: when the next is due

	mu       sync.Mutex
	ended    bool
	unjoined *time.Timer
	absent   *time.Timer // between two polls, and a handshake and what follows, no goroutine looks after it
	watcher  *watcher    // nil until the client has joined
	replies  []string    // packets, at most maxReplies
	polling  bool        // a poll is under way
	probe    *line       // a WebSocket that is to take over from polling
	probed   bool        // and carries packets both ways, so that the client wants its poll answered
	onSocket bool        // a WebSocket has it
}

// newID gives what nobody guesses.
func newID() string { return rand.Text() }

// open is the packet that a session begins with.
func (s *session) open(upgrades ...string) string {
	data, err := json.Marshal(struct {
		SID          string   `json:"sid"`
		Upgrades     []string `json:"upgrades"`
		PingInterval int64    `json:"pingInterval"`
		PingTimeout  int64    `json:"pingTimeout"`
		MaxPayload   int      `json:"maxPayload"`
	}{
		s.id, append([]string{}, upgrades...), s.hub.cfg.PingEvery.Milliseconds(),
		(s.hub.cfg.PingEvery * 3 / 2).Milliseconds(), maxPacket,
	})
	if err != nil { // of these types: it cannot be
		panic(err)
	}
	return packetOpen + string(data)
}

// end ends the session, once.
func (s *session) end(why *farewellError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(why)
}

func (s *session) endAbsent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.polling && !s.onSocket {
		s.endLocked(errAbsent)
	}
}

func (s *session) endUnjoined() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watcher == nil {
		s.endLocked(errUnjoined)
	}
}

func (s *session) endLocked(why *farewellError) {
	if s.ended {
		return
	}
	s.ended, s.why = true, why
	close(s.gone)
	s.absent.Stop()
	s.unjoined.Stop()
	if s.probe != nil {
		s.probe.hangUp()
	}
	if why != nil && !s.onSocket { // a WebSocket is told, and counts
		s.hub.metrics.closed.WithLabelValues(why.reason).Inc()
	}
	s.hub.sessions.remove(s)
	s.leave()
}

// hear takes one packet of the client. It returns errBye or a farewellError
// where the session has to end.
func (s *session) hear(packet string) error {
	switch {
	case packet == packetPong:
		return nil
	case packet == packetClose, packet == packetLeave:
		return errBye
	case strings.HasPrefix(packet, packetJoin):
		return s.join(packet[len(packetJoin):])
	case strings.HasPrefix(packet, packetMessage), strings.HasPrefix(packet, packetBinary):
		return nil // an event or an answer: this door takes none
	}
	return errPacket
}

// join lets the client into the namespace /, the only one.
func (s *session) join(what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.replies) >= maxReplies {
		return errFlood
	}
	var reply string
	if strings.HasPrefix(what, "/") {
		namespace, _, _ := strings.Cut(what, ",")
		namespace, _, _ = strings.Cut(namespace, "?")
		if len(namespace) > maxNamespace {
			return errPacket
		}
		reply = packetNoJoin + namespace + `,{"message":"Invalid namespace"}`
	} else {
		if s.watcher != nil || what != "" && what[0] != '{' {
			return errPacket
		}
		s.unjoined.Stop()
		s.watcher = s.hub.watch(nil)
		s.watcher.seen = s.hub.current.Load().number     // what is told comes after
		reply = packetJoin + `{"sid":"` + newID() + `"}` // not the id that requests are let in by
	}
	s.replies = append(s.replies, reply)
	ring(s.kick)
	return nil
}

// take gives what is to be told now: answers, then news, which bring the client
// to a round; nil if there is no later one.
func (s *session) take() (replies []string, news packets, told *round) {
	s.mu.Lock()
	defer s.mu.Unlock()
	replies, s.replies = s.replies, nil
	if s.watcher != nil {
		news, told = s.watcher.takePackets()
	}
	return replies, news, told
}

// listen gives the bell of the next round and counts the client as waiting for
// it until done; neither before it has joined.
func (s *session) listen() (bell <-chan struct{}, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watcher == nil {
		return nil, func() {}
	}
	s.hub.waiting.Add(1)
	return s.watcher.bell(), func() { s.hub.waiting.Add(-1) }
}

// sessions are those that have not ended.
type sessions struct {
	mu   sync.Mutex
	byID map[string]*session
}

func newSessions() *sessions { return &sessions{byID: map[string]*session{}} }

func (all *sessions) add(s *session) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.byID[s.id] = s
}

func (all *sessions) remove(s *session) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.byID, s.id)
}

// find gives nil for an id that no session has.
func (all *sessions) find(id string) *session {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.byID[id]
}

// end ends all sessions as going away, so that their clients connect again.
func (all *sessions) end() {
	all.mu.Lock()
	rest := make([]*session, 0, len(all.byID))
	for _, s := range all.byID {
		rest = append(rest, s)
	}
	all.mu.Unlock()
	for _, s := range rest {
		s.end(errGoingAway)
	}
}
