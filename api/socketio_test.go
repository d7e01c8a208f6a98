package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/live"
	"github.com/holdfast/holdfast/test/harness"
)

func TestSocketIOPolling(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop, other, ada := s.drop(t, nil), s.drop(t, nil), s.user(t, "ada")
	r := s.engineIO(t, http.MethodGet, polling, "").want(t, 200)
	o := isOpened(t, string(r.raw))
	if !slices.Equal(o.Upgrades, []string{"websocket"}) || o.PingInterval != 20_000 || o.PingTimeout != 30_000 || o.MaxPayload != 16<<10 {
		t.Errorf("handshake %+v", o)
	}
	if r.header.Get("Content-Type") != "text/plain; charset=UTF-8" || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", r.header)
	}
	p := (&poller{t: t, s: s, id: o.SID}).join()
	s.inside(t, 1)

	s.hold(t, other, ada) // by which it is told of all before
	p.told(stockPacket(other, 9, "reserved"))
	answer := p.pending()
	select {
	case early := <-answer:
		t.Errorf("told of nothing by %q", early)
	case <-time.After(300 * time.Millisecond):
	}
	id := s.hold(t, drop, ada)
	isAnswered(t, answer, stockPacket(drop, 9, "reserved"))
	s.purchase(t, id).want(t, 201)
	if before := p.told(salePacket(drop, ada, id)); !slices.Equal(before, []string{stockPacket(drop, 9, "purchased")}) {
		t.Errorf("before the purchase: %q", before)
	}

	if r := p.post("41", "1").want(t, 200); string(r.raw) != "ok" {
		t.Errorf("the leave is answered %q", r.raw)
	}
	p.post("40").want(t, 400)
	s.inside(t, 0)
	if r := s.send(t, newRequest(t, s.url+"/socket.io?"+polling)); r.status != 200 {
		t.Errorf("without the slash: %d", r.status)
	}
}

func newRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	must(t, err)
	return r
}

func TestSocketIOWebSocket(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop, ada := s.drop(t, nil), s.user(t, "ada")
	w := s.connects(t)
	w.say("3") // a pong before any ping
	w.say(`40/admin?x=1,{"token":"x"}`)
	if got := w.next(); got != `44/admin,{"message":"Invalid namespace"}` {
		t.Errorf("another namespace is answered %q", got)
	}
	w.say(`40{"token":"x"}`)
	isJoined(t, w.next(), w.id)
	for _, ignored := range []string{"42", `42["buy",{"dropId":1}]`, `420["buy"]`, `43[]`, "451-", "4", "4x", "b", "bAQID", "3", "3x"[:1]} {
		w.say(ignored)
	}
	must(t, w.conn.WriteMessage(websocket.BinaryMessage, []byte{0, 1, 0xff}))
	id := s.hold(t, drop, ada)
	w.told(stockPacket(drop, 9, "reserved"))
	s.purchase(t, id).want(t, 201)
	if before := w.told(salePacket(drop, ada, id)); !slices.Equal(before, []string{stockPacket(drop, 9, "purchased")}) {
		t.Errorf("before the purchase: %q", before)
	}
	pong := make(chan string, 1)
	w.conn.SetPongHandler(func(data string) error { pong <- data; return nil })
	must(t, w.conn.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(time.Second)))
	s.cancel(t, s.hold(t, drop, ada)).want(t, 200)
	w.told(stockPacket(drop, 9, "cancelled"))
	if data := <-pong; data != "x" {
		t.Errorf("pong %q", data)
	}
	// Its id lets nobody else in: no second WebSocket, no poll, no post.
	s.upgraded(t, "&sid="+w.id).closes(cut)
	p := &poller{t: t, s: s, id: w.id}
	p.post("1").want(t, 400)
	s.engineIO(t, http.MethodGet, p.query(), "").want(t, 400)
	s.hold(t, drop, ada)
	w.told(stockPacket(drop, 8, "reserved"))
	w.say("41")
	w.closes(cut)
	s.inside(t, 0)
}

func TestSocketIOUpgrade(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop, ada := s.drop(t, nil), s.user(t, "ada")
	p := s.polls(t).join()
	s.hold(t, drop, ada)
	p.told(stockPacket(drop, 9, "reserved"))

	// One that fails leaves it polling.
	for _, first := range []string{"5", "2", "40"} {
		w := s.upgraded(t, "&sid="+p.id)
		w.say(first)
		w.closes(cut)
	}
	w := s.upgraded(t, "&sid="+p.id)
	_ = w.conn.Close()
	s.hold(t, drop, ada)
	p.told(stockPacket(drop, 8, "reserved"))

	// A poll under way is answered once both ways are proved.
	answer := p.pending()
	w = p.tries()
	s.upgraded(t, "&sid="+p.id).closes(cut) // one at a time
	isAnswered(t, answer, "6")
	w.say("5")
	id := s.hold(t, drop, ada)
	w.told(stockPacket(drop, 7, "reserved"))
	p.post("3").want(t, 400)
	s.engineIO(t, http.MethodGet, p.query(), "").want(t, 400)
	s.upgraded(t, "&sid="+p.id).closes(cut)
	s.cancel(t, id).want(t, 200)
	w.told(stockPacket(drop, 8, "cancelled"))
	s.inside(t, 1)

	// A client that goes over before its poll was answered stays where it is.
	p = s.polls(t).join()
	answer = p.pending()
	w = s.upgraded(t, "&sid="+p.id)
	w.say("2probe")
	w.say("5")
	w.closes(cut)
	s.hold(t, drop, ada)
	last := stockPacket(drop, 7, "reserved")
	if got := <-answer; !strings.Contains(got, last) {
		p.told(last)
	}
}

func TestSocketIORefusals(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) {
		w.api = func(cfg *api.Config) { cfg.CORSOrigins = []string{"https://shop.example"} }
	})
	p := s.polls(t)
	for _, c := range []struct {
		method, query, body string
		code                int
		message             string
	}{
		{"GET", "", "", 0, "Transport unknown"},
		{"GET", "EIO=4", "", 0, "Transport unknown"},
		{"GET", "EIO=4&transport=webtransport", "", 0, "Transport unknown"},
		{"GET", "EIO=4&transport=polling&transport=x&sid=x", "", 1, "Session ID unknown"},
		{"GET", "EIO=4&transport=websocket", "", 3, "Bad request"},
		{"GET", "EIO=4&transport=websocket&sid=" + p.id, "", 3, "Bad request"},
		{"GET", "transport=polling", "", 5, "Unsupported protocol version"},
		{"GET", "EIO=3&transport=polling", "", 5, "Unsupported protocol version"},
		{"GET", "EIO=3&transport=polling&sid=" + p.id, "", 5, "Unsupported protocol version"},
		{"GET", polling + "&sid=" + strings.Repeat("x", 4000), "", 1, "Session ID unknown"},
		{"POST", polling + "&sid=%00", "3", 1, "Session ID unknown"},
		{"POST", polling, "3", 2, "Bad handshake method"},
		{"PUT", polling, "3", 2, "Bad handshake method"},
		{"OPTIONS", polling, "", 2, "Bad handshake method"},
		{"DELETE", p.query(), "", 3, "Bad request"},
		{"PROPFIND", p.query(), "", 3, "Bad request"},
	} {
		r := s.engineIO(t, c.method, c.query, c.body)
		if want := fmt.Sprintf(`{"code":%d,"message":%q}`, c.code, c.message); r.status != 400 || string(r.raw) != want {
			t.Errorf("%s %.60s: %d %s, want %s", c.method, c.query, r.status, r.raw, want)
		}
	}
	for _, method := range []string{"GET", "POST"} {
		for _, query := range []string{polling, p.query(), "EIO=4&transport=websocket", ""} {
			s.engineIO(t, method, query, "", "Origin", "https://evil.example").refused(t, 403, "forbidden_origin", "Origin is not allowed")
		}
	}
	_, r, err := s.dialAt(t, overSocket, http.Header{"Origin": {"https://evil.example"}})
	if err == nil || r.status != http.StatusForbidden {
		t.Errorf("a WebSocket of another origin: %v, %d", err, r.status)
	}
	r = s.engineIO(t, "GET", polling, "", "Origin", "https://shop.example").want(t, 200)
	if r.header.Get("Access-Control-Allow-Origin") != "https://shop.example" {
		t.Errorf("headers %v", r.header)
	}
	p.join() // and nothing of this has harmed the session
	s.inside(t, 2)
}

func TestSocketIOLimits(t *testing.T) {
	t.Parallel()
	s := newServer(t, feed(func(c *live.Config) { c.MaxSocketsPerAddress = 2 }))
	p := s.polls(t).join()
	s.connects(t)
	const tooMany = "Too many live connections from this address"
	s.engineIO(t, "GET", polling, "").refused(t, 429, "too_many_sockets", tooMany)
	if _, r, err := s.dial(t, "", nil); err == nil || r.status != http.StatusTooManyRequests {
		t.Errorf("a WebSocket beside them: %v, %d", err, r.status)
	}
	p.post("1").want(t, 200) // makes room
	s.watch(t, "")
	s.engineIO(t, "GET", polling, "").refused(t, 429, "too_many_sockets", tooMany)

	s = newServer(t, feed(func(c *live.Config) { c.MaxSockets = 1 }))
	s.connects(t)
	r := s.engineIO(t, "GET", polling, "").refused(t, 503, "overloaded", "Too busy")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// TestSocketIOPlacesReturn has clients leave in every way there is: those that
// go on are not kept from coming in.
func TestSocketIOPlacesReturn(t *testing.T) {
	t.Parallel()
	s := newServer(t, feed(func(c *live.Config) {
		c.WriteTimeout, c.PingEvery = 700*time.Millisecond, 400*time.Millisecond
	}))
	// Handshakes of nobody: they are cut before the answer is read.
	for _, query := range []string{polling, "EIO=4&transport=websocket"} {
		for range 10 {
			conn := s.raw(t)
			_, err := fmt.Fprintf(conn, "GET /socket.io/?%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
				query, strings.TrimPrefix(strings.TrimPrefix(query, polling), "EIO=4&transport="))
			must(t, err)
			_ = conn.Close()
		}
	}
	// One that joins nothing, by either transport.
	idle, mute := s.polls(t), s.connects(t)
	if got := until(t, "1", idle.poll); len(got) > 2 {
		t.Errorf("a session that has not joined is told %q", got)
	}
	mute.closes(1008)
	// One that no longer polls.
	absent := s.polls(t).join()
	// One whose poll is cut off.
	hasty := s.polls(t).join()
	conn := s.raw(t)
	_, err := fmt.Fprintf(conn, "GET /socket.io/?%s HTTP/1.1\r\nHost: x\r\n\r\n", hasty.query())
	must(t, err)
	_ = conn.Close()
	// One whose upgrade gets stuck, and that sends pings all the while.
	stuck := s.polls(t).join()
	w := stuck.tries()
	harness.Eventually(t, 10*time.Second, func() error {
		if err := w.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)); err == nil {
			return fmt.Errorf("a stuck upgrade is kept")
		}
		return nil
	})
	// One that goes silent.
	silent := s.connects(t).join()
	s.inside(t, 0)
	for _, p := range []*poller{idle, absent, hasty, stuck} {
		p.post("3").want(t, 400)
	}
	silent.closes(cut)
	for _, reason := range []string{"unjoined", "absent", "silent"} {
		if s.metric(t, fmt.Sprintf("holdfast_live_closed_total{reason=%q}", reason)) == 0 {
			t.Errorf("none counts as %s", reason)
		}
	}
}

// TestSocketIOMissedRounds has clients come back late: they are told the newest
// stock of each drop, once.
func TestSocketIOMissedRounds(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	a, b, ada := s.drop(t, nil), s.drop(t, nil), s.user(t, "ada")
	watching := s.watch(t, "")
	p := s.polls(t).join()
	last := s.hold(t, b, ada)
	p.told(stockPacket(b, 9, "reserved"))
	for i := range int64(5) {
		id := s.hold(t, a, ada)
		watching.shows(a, 9-i, 1, i)
		s.purchase(t, id).want(t, 201)
		watching.shows(a, 9-i, 0, i+1)
	}
	s.cancel(t, last).want(t, 200)
	watching.shows(b, 10, 0, 0)
	if got := p.poll(); !slices.Equal(got, []string{stockPacket(a, 5, "purchased"), stockPacket(b, 10, "cancelled")}) {
		t.Errorf("told %q", got)
	}
}

// TestSocketIOPings has both transports pinged, also while there is news.
func TestSocketIOPings(t *testing.T) {
	t.Parallel()
	s := newServer(t, feed(func(c *live.Config) { c.PingEvery = 300 * time.Millisecond }))
	drop, ada := s.drop(t, nil), s.user(t, "ada")
	p, w := s.polls(t).join(), s.connects(t).join()
	s.storm(t, s.engine, drop, ada)
	p.told("2")
	p.told("2")
	for range 3 {
		until(t, "2", func() []string {
			_, packet, err := w.conn.ReadMessage()
			must(t, err)
			return []string{string(packet)}
		})
		w.say("3")
	}
}
