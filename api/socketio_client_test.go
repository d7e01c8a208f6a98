package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/holdfast/holdfast/test/harness"
)

// What the packets of Socket.IO look like, on the wire.
func stockPacket(drop, available int64, reason string) string {
	return fmt.Sprintf(`42["stock_update",{"dropId":%d,"available_stock":%d,"reason":%q}]`, drop, available, reason)
}

func salePacket(drop, user, purchase int64) string {
	return fmt.Sprintf(`42["purchase_complete",{"dropId":%d,"userId":%d,"purchaseId":%d}]`, drop, user, purchase)
}

// engineIO makes a request of Engine.IO, which openapi.yaml does not describe.
func (s *server) engineIO(t *testing.T, method, query, body string, headers ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+"/socket.io/?"+query, strings.NewReader(body))
	must(t, err)
	r.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return s.send(t, r)
}

// opened is the packet that a session begins with.
type opened struct {
	SID                                   string
	Upgrades                              []string
	PingInterval, PingTimeout, MaxPayload int
}

func isOpened(t *testing.T, packet string) (o opened) {
	t.Helper()
	if !strings.HasPrefix(packet, "0{") {
		t.Fatalf("the session begins with %q", packet)
	}
	must(t, json.Unmarshal([]byte(packet[1:]), &o))
	if o.SID == "" || o.Upgrades == nil {
		t.Fatalf("the session begins with %q", packet)
	}
	return o
}

// poller is a session that polls.
type poller struct {
	t  *testing.T
	s  *server
	id string
}

const polling = "EIO=4&transport=polling"

// polls begins a session by a handshake.
func (s *server) polls(t *testing.T) *poller {
	t.Helper()
	r := s.engineIO(t, http.MethodGet, polling, "").want(t, 200)
	return &poller{t: t, s: s, id: isOpened(t, string(r.raw)).SID}
}

func (p *poller) query() string { return polling + "&sid=" + p.id }

func (p *poller) post(packets ...string) reply {
	p.t.Helper()
	return p.s.engineIO(p.t, http.MethodPost, p.query(), strings.Join(packets, "\x1e"))
}

func (p *poller) poll() []string {
	p.t.Helper()
	return strings.Split(string(p.s.engineIO(p.t, http.MethodGet, p.query(), "").want(p.t, 200).raw), "\x1e")
}

// join joins the namespace / and waits for the answer.
func (p *poller) join() *poller {
	p.t.Helper()
	if r := p.post("40").want(p.t, 200); string(r.raw) != "ok" {
		p.t.Errorf("a post is answered %q", r.raw)
	}
	isJoined(p.t, p.poll()[0], p.id)
	return p
}

// isJoined checks the answer to a join: its id is not the session's.
func isJoined(t *testing.T, packet, session string) {
	t.Helper()
	if !strings.HasPrefix(packet, `40{"sid":"`) || strings.Contains(packet, session) {
		t.Fatalf("a join is answered %q", packet)
	}
}

// told polls until the packet comes, and gives what came before it.
func (p *poller) told(packet string) (before []string) {
	p.t.Helper()
	return until(p.t, packet, p.poll)
}

// pending begins a poll and returns once that waits. The answer comes by the
// channel.
func (p *poller) pending() <-chan string {
	p.t.Helper()
	answers := make(chan string, 2)
	for range 2 { // of two at once one is refused, as the other waits
		go func() {
			res, err := p.s.http.Get(p.s.url + "/socket.io/?" + p.query())
			if err != nil {
				answers <- err.Error()
				return
			}
			defer res.Body.Close()
			raw, err := io.ReadAll(res.Body)
			answers <- fmt.Sprint(res.StatusCode, " ", string(raw), err)
		}()
	}
	if first := <-answers; first != `400 {"code":3,"message":"Bad request"}<nil>` {
		p.t.Errorf("two polls at once are answered %q", first)
	}
	return answers
}

// tries has the session try a WebSocket, up to where it is only to be said to go
// over. One at a time may, so it waits until the server has done with the last.
func (p *poller) tries() (w *socketed) {
	p.t.Helper()
	harness.Eventually(p.t, 10*time.Second, func() error {
		w = p.s.upgraded(p.t, "&sid="+p.id)
		if err := w.conn.WriteMessage(websocket.TextMessage, []byte("2probe")); err != nil {
			return err
		}
		must(p.t, w.conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		_, packet, err := w.conn.ReadMessage()
		if err == nil && string(packet) != "3probe" {
			p.t.Fatalf("the probe is answered %q", packet)
		}
		return err
	})
	return w
}

// isAnswered checks what a pending poll is answered.
func isAnswered(t *testing.T, answers <-chan string, packet string) {
	t.Helper()
	select {
	case got := <-answers:
		if want := "200 " + packet + "<nil>"; got != want {
			t.Errorf("a poll is answered %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("a poll is not answered, by %q", packet)
	}
}

// until reads packets until that one.
func until(t *testing.T, packet string, read func() []string) (before []string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		for _, got := range read() {
			if got == packet {
				return before
			}
			before = append(before, got)
		}
	}
	t.Fatalf("%q did not come, but %q", packet, before)
	return nil
}

// socketed is a WebSocket of Socket.IO.
type socketed struct {
	t    *testing.T
	conn *websocket.Conn
	id   string // of a session that began by it
}

const overSocket = "/socket.io/?EIO=4&transport=websocket"

func (s *server) upgraded(t *testing.T, query string, options ...func(*websocket.Dialer)) *socketed {
	t.Helper()
	conn, r, err := s.dialAt(t, overSocket+query, nil, options...)
	if err != nil {
		t.Fatal(err, r.status)
	}
	return &socketed{t: t, conn: conn}
}

// connects begins a session by a WebSocket.
func (s *server) connects(t *testing.T, options ...func(*websocket.Dialer)) *socketed {
	t.Helper()
	w := s.upgraded(t, "", options...)
	w.id = isOpened(t, w.next()).SID
	return w
}

func (w *socketed) say(packet string) {
	w.t.Helper()
	must(w.t, w.conn.WriteMessage(websocket.TextMessage, []byte(packet)))
}

// next is the next packet; pings are answered.
func (w *socketed) next() string {
	w.t.Helper()
	must(w.t, w.conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	for {
		_, packet, err := w.conn.ReadMessage()
		must(w.t, err)
		if string(packet) != "2" {
			return string(packet)
		}
		w.say("3")
	}
}

func (w *socketed) told(packet string) (before []string) {
	w.t.Helper()
	return until(w.t, packet, func() []string { return []string{w.next()} })
}

func (w *socketed) join() *socketed {
	w.t.Helper()
	w.say("40")
	isJoined(w.t, w.next(), w.id)
	return w
}

// closes waits for the end and checks its code: cut is one without a close frame.
const cut = websocket.CloseAbnormalClosure

func (w *socketed) closes(code int) {
	w.t.Helper()
	must(w.t, w.conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	var err error
	for err == nil {
		_, _, err = w.conn.ReadMessage()
	}
	got := cut
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		w.t.Fatalf("it does not end with %d", code)
	}
	if closed := (*websocket.CloseError)(nil); errors.As(err, &closed) {
		got = closed.Code
	}
	if got != code {
		w.t.Errorf("it ended with %v, want %d", err, code)
	}
}

// raw is a bare connection.
func (s *server) raw(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// metric is the value of a metric by its name and labels, 0 where it is missing.
func (s *server) metric(t *testing.T, name string) float64 {
	t.Helper()
	for line := range strings.Lines(string(s.get(t, "/metrics").raw)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			var n float64
			_, err := fmt.Sscan(value, &n)
			must(t, err)
			return n
		}
	}
	return 0
}

// inside waits until so many clients of Socket.IO have a place.
func (s *server) inside(t *testing.T, want float64) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, func() error {
		if n := s.metric(t, `holdfast_live_clients{transport="socketio"}`); n != want {
			return fmt.Errorf("%v clients are inside, want %v", n, want)
		}
		return nil
	})
}
