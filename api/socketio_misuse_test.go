package api_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/holdfast/holdfast/api/live"
	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// TestSocketIOBadClients has clients send what they must not, by WebSocket and
// by posts. Good ones beside them are told as ever.
func TestSocketIOBadClients(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop, ada := s.drop(t, nil), s.user(t, "ada")
	goodPoller, goodSocket := s.polls(t).join(), s.connects(t).join()

	big := s.connects(t).join()
	_ = big.conn.WriteMessage(websocket.TextMessage, []byte("4"+strings.Repeat("x", 1<<20))) // it may be cut off half way
	big.closes(1009)
	most := s.connects(t).join()
	most.say("4" + strings.Repeat("x", 16<<10-1))
	most.say("41")
	most.closes(cut)
	for name, send := range map[string]func(*websocket.Conn) error{
		"pongs":  func(c *websocket.Conn) error { return c.WriteMessage(websocket.TextMessage, []byte("3")) },
		"events": func(c *websocket.Conn) error { return c.WriteMessage(websocket.TextMessage, []byte("42")) },
		"binary": func(c *websocket.Conn) error { return c.WriteMessage(websocket.BinaryMessage, nil) },
		"pings":  func(c *websocket.Conn) error { return c.WriteControl(websocket.PingMessage, nil, time.Time{}) },
	} {
		t.Log(name)
		flood := s.connects(t).join()
		for range 10_000 {
			if send(flood.conn) != nil {
				break // closed in the meantime
			}
		}
		flood.closes(1008)
	}
	for _, packet := range []string{"", "0", "2", "5", "6", "7", "x", "\x1e", "é", "\xff", "40x", "40 ", "31", "1 ", "40/" + strings.Repeat("x", 200)} {
		bad := s.connects(t)
		bad.say(packet)
		bad.closes(1008)
	}
	twice := s.connects(t).join()
	twice.say("40")
	twice.closes(1008)
	unmasked := s.connects(t)
	_, _ = unmasked.conn.NetConn().Write([]byte{0x81, 0x01, '3'})
	unmasked.closes(1002)

	for _, c := range []struct {
		body   string
		status int
	}{
		{"3", 200}, {"42", 200}, {"4", 200}, {"b", 200}, {"bAQID", 200}, {"451-[\"a\"]", 200}, {"43[]\x1e42[]", 200}, {"41", 200}, {"1", 200},
		{"40/admin,{}", 200}, {"40\x1e3\x1e3", 200}, {strings.Repeat("3\x1e", 40) + "3", 200}, {"4" + strings.Repeat("x", 16<<10-1), 200},
		{"", 400}, {"\x1e", 400}, {"3\x1e", 400}, {"9", 400}, {"2", 400}, {"2probe", 400}, {"5", 400}, {"40x", 400}, {"40\x1e40", 400},
		{"\x00\xff\xfe", 400}, {strings.Repeat("3\x1e", 200), 400}, {strings.Repeat("40/x,\x1e", 20), 400},
		{"4" + strings.Repeat("x", 16<<10), 413},
	} {
		for _, kind := range []string{"text/plain;charset=UTF-8", "application/octet-stream", "application/x-www-form-urlencoded", ""} {
			p := s.polls(t)
			r := s.engineIO(t, http.MethodPost, p.query(), c.body, "Content-Type", kind)
			if r.status != c.status {
				t.Errorf("%.30q as %q is answered %d %s, want %d", c.body, kind, r.status, r.raw, c.status)
			}
		}
	}
	p := s.polls(t)
	s.engineIO(t, http.MethodPost, p.query(), "\x1f\x8b", "Content-Encoding", "gzip").want(t, 400)
	p.post("40/a,", "40/b?x=y,{}").want(t, 200)
	if got := strings.Join(p.poll(), " "); got != `44/a,{"message":"Invalid namespace"} 44/b,{"message":"Invalid namespace"}` {
		t.Errorf("other namespaces are answered %q", got)
	}

	s.hold(t, drop, ada)
	goodPoller.told(stockPacket(drop, 9, "reserved"))
	goodSocket.told(stockPacket(drop, 9, "reserved"))
	for _, reason := range []string{"flood", "too_big", "malformed"} {
		if s.metric(t, fmt.Sprintf("holdfast_live_closed_total{reason=%q}", reason)) == 0 {
			t.Errorf("none counts as %s", reason)
		}
	}
}

// counting is a client that reads all it is told.
type counting struct {
	mu   sync.Mutex
	told int
	last map[string]int // by packet: the place at which it came last
}

func (s *server) counts(t *testing.T) *counting {
	t.Helper()
	w := s.connects(t).join()
	must(t, w.conn.SetReadDeadline(time.Time{}))
	c := &counting{last: map[string]int{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			_, packet, err := w.conn.ReadMessage()
			if err != nil {
				return
			}
			c.mu.Lock()
			c.told++
			c.last[string(packet)] = c.told
			c.mu.Unlock()
		}
	}()
	t.Cleanup(func() { _ = w.conn.Close(); <-done })
	return c
}

func (c *counting) toldSoFar() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told
}

func (c *counting) until(t *testing.T, what string, satisfied func() bool) {
	t.Helper()
	harness.Eventually(t, time.Minute, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !satisfied() {
			return fmt.Errorf("no %s by %d packets", what, c.told)
		}
		return nil
	})
}

// enough packets fill the buffers between the server and a client.
const enough = 5_000

// rush changes all drops at once, by holds that are cancelled, until it may end.
func (s *server) rush(t *testing.T, drops []int64, user int64, over func() bool) {
	t.Helper()
	var workers sync.WaitGroup
	deadline := time.Now().Add(2 * time.Minute)
	for _, drop := range drops {
		workers.Go(func() {
			for !over() {
				r, err := s.engine.Reserve(t.Context(), engine.ReserveRequest{Drop: drop, User: user})
				if err == nil {
					_, err = s.engine.Cancel(t.Context(), r.ID)
				}
				if err == nil && time.Now().After(deadline) {
					err = errors.New("it does not end")
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
}

// TestSocketIOSlowClient has a client stop reading for a while: then it is told
// the newest stock, and not all it missed, as nothing is kept for it.
func TestSocketIOSlowClient(t *testing.T) {
	t.Parallel()
	s := newServer(t, feed(func(c *live.Config) { c.Every, c.WriteTimeout, c.PingEvery = time.Millisecond, time.Hour, time.Hour }))
	ada, drops := s.user(t, "ada"), make([]int64, 64)
	for i := range drops {
		drops[i] = s.drop(t, fields{"total_stock": 1000})
	}
	good, slow := s.counts(t), s.connects(t, smallWindow).join()
	const enough = 6_000 // packets, to fill the buffers between
	s.rush(t, drops, ada, func() bool { return good.toldSoFar() > enough })
	for _, drop := range drops {
		s.hold(t, drop, ada)
	}
	newest := func(last map[string]int) bool {
		for _, drop := range drops {
			at := last[stockPacket(drop, 999, "reserved")]
			if at == 0 || at < last[stockPacket(drop, 1000, "cancelled")] {
				return false
			}
		}
		return true
	}
	good.until(t, "end", func() bool { return newest(good.last) })
	last := map[string]int{}
	packets := 0
	for !newest(last) {
		packets++
		last[slow.next()] = packets
	}
	if packets > good.told*3/4 {
		t.Errorf("the slow client was told %d packets, the good one %d", packets, good.told)
	}
	if s.metric(t, "holdfast_live_skipped_rounds_total") == 0 {
		t.Error("no rounds were skipped")
	}
	s.cancel(t, s.hold(t, drops[0], ada)).want(t, 200)
	slow.told(stockPacket(drops[0], 999, "cancelled"))
}

// TestSocketIOStuckClient has a client stop reading for good: it is closed.
func TestSocketIOStuckClient(t *testing.T) {
	t.Parallel()
	s := newServer(t, feed(func(c *live.Config) {
		c.Every, c.WriteTimeout, c.PingEvery = time.Millisecond, 5*time.Second, time.Hour
	}))
	ada, drops := s.user(t, "ada"), make([]int64, 64)
	for i := range drops {
		drops[i] = s.drop(t, nil)
	}
	stuck := s.connects(t, smallWindow).join()
	good := s.counts(t)
	s.rush(t, drops, ada, func() bool { return good.toldSoFar() > enough })
	harness.Eventually(t, time.Minute, func() error {
		if s.metric(t, `holdfast_live_closed_total{reason="slow"}`) != 1 {
			return errors.New("a client that does not read is kept")
		}
		return nil
	})
	stuck.closes(4008)
	s.inside(t, 1)
}

// TestSocketIOShutdown has clients in every state when the server stops: each is
// told or finds out, and none holds it up.
func TestSocketIOShutdown(t *testing.T) {
	var w, trial *socketed
	var answer <-chan string
	t.Run("serve", func(inner *testing.T) { // whose end is the server's
		s := newServer(inner)
		w = s.connects(t).join()
		s.polls(t).join() // is between two polls
		trial = s.polls(t).join().tries()
		answer = s.polls(t).join().pending()
	})
	w.closes(1001)
	isAnswered(t, answer, "1")
	trial.closes(cut)
}

// TestSocketIOChurn has many clients come, go over, and leave in disorder while
// there is much to tell.
func TestSocketIOChurn(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := newServer(t, feed(func(c *live.Config) { c.Every, c.WriteTimeout = time.Millisecond, 500*time.Millisecond }))
	drop, ada := s.drop(t, nil), s.user(t, "ada")
	stop := s.storm(t, s.engine, drop, ada)
	transport := &http.Transport{MaxIdleConnsPerHost: 50}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	// ask does what may go wrong in any way that leaves the server whole.
	ask := func(method, query, body string) string {
		r, err := http.NewRequestWithContext(t.Context(), method, s.url+"/socket.io/?"+query, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return ""
		}
		res, err := client.Do(r)
		if err != nil {
			return ""
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s %s is answered %d", method, query, res.StatusCode)
		}
		raw, _ := io.ReadAll(res.Body)
		return string(raw)
	}
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range 15 {
				_, rest, _ := strings.Cut(ask("GET", polling, ""), `"sid":"`)
				id, _, _ := strings.Cut(rest, `"`)
				query := polling + "&sid=" + id
				ask("POST", query, "40")
				var steps sync.WaitGroup
				for range r.IntN(4) {
					switch r.IntN(5) {
					case 0:
						steps.Go(func() { ask("GET", query, "") })
					case 1:
						steps.Go(func() { ask("POST", query, "3") })
					case 2:
						ask("GET", query, "")
					case 3:
						steps.Go(func() { ask("POST", query, "1") })
					case 4:
						packets, reads := []string{"2probe", "5", "3", "41"}[:1+r.IntN(4)], r.IntN(20)
						steps.Go(func() { s.tries(t, id, packets, reads) })
					}
				}
				steps.Wait()
			}
		})
	}
	all.Wait()
	stop()
	s.inside(t, 0)
	s.hold(t, drop, ada)
	last := s.connects(t).join()
	s.hold(t, drop, ada)
	last.told(stockPacket(drop, 8, "reserved"))
}

// tries sends packets on a WebSocket of a session, reads some and hangs up.
func (s *server) tries(t *testing.T, id string, packets []string, reads int) {
	t.Helper()
	conn, _, err := s.dialAt(t, overSocket+"&sid="+id, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	for _, p := range packets {
		_ = conn.WriteMessage(websocket.TextMessage, []byte(p))
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	for range reads {
		if _, _, err := conn.ReadMessage(); err != nil {
			return
		}
	}
}
