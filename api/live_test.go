package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/live"
	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// feed changes the live feed's settings.
func feed(change func(*live.Config)) func(*wiring) {
	return func(w *wiring) { w.api = func(cfg *api.Config) { change(&cfg.Live) } }
}

func TestLiveTellsEveryChange(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	first := s.drop(t, nil)
	w := s.watch(t, "")
	w.shows(first, 10, 0, 0)
	var snapshot stock
	must(t, json.Unmarshal(w.all()[0].Data, &snapshot))
	at, err := time.Parse(time.RFC3339Nano, snapshot.ServerTime)
	if err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("server_time is %q", snapshot.ServerTime)
	}

	// A drop that comes is told first as created, in the form of the API.
	drop := s.drop(t, fields{
		"total_stock": absent, "hold_seconds": 3,
		"sizes": []fields{{"size": "42", "stock": 2}, {"size": "43", "stock": 1}},
	})
	w.shows(drop, 3, 0, 0)
	var created []string // the events about it
	for _, e := range w.all() {
		var about struct{ ID, DropID int64 }
		must(t, json.Unmarshal(e.Data, &about))
		if about.ID+about.DropID != drop {
			continue
		}
		created = append(created, e.Event)
		if e.Event == "drop_created" {
			var body any
			must(t, json.Unmarshal(e.Data, &body))
			must(t, s.doc.Components.Schemas["Drop"].Value.VisitJSON(body))
		}
	}
	if !slices.Equal(created, []string{"drop_created", "stock_update"}) {
		t.Errorf("a new drop is told as %q", created)
	}

	reasons := func() (all []string) {
		for _, e := range w.all() {
			var u stock
			must(t, json.Unmarshal(e.Data, &u))
			if e.Event == "stock_update" && u.DropID == drop {
				all = append(all, u.Reason)
			}
		}
		return all
	}
	ada := s.user(t, "ada")
	hold := func(size string) int64 {
		return s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": ada, "size": size}).want(t, 201).int(t, "id")
	}
	bought := hold("42")
	w.shows(drop, 2, 1, 0)
	s.purchase(t, bought).want(t, 201)
	w.shows(drop, 2, 0, 1)
	w.until(func() bool { return w.sold[drop] == 1 })
	w.until(func() bool { // and who it was, once Postgres knows
		updated := w.named("drop_updated")
		return len(updated) > 0 && strings.Contains(string(updated[len(updated)-1].Data), `"User":{"username":"ada"}`)
	})
	cancelled := hold("43")
	w.shows(drop, 1, 1, 1)
	s.cancel(t, cancelled).want(t, 200)
	w.shows(drop, 2, 0, 1)
	hold("42")
	w.shows(drop, 1, 1, 1)
	if sizes := w.last(drop).Sizes; len(sizes) != 2 || sizes[0].Available != 0 || sizes[0].Held != 1 || sizes[0].Sold != 1 || sizes[1].Available != 1 {
		t.Errorf("sizes: %+v", sizes)
	}
	w.shows(drop, 2, 0, 1) // lapsed
	want := []string{"restocked", "reserved", "purchased", "reserved", "cancelled", "reserved", "reservation_expired"}
	if got := reasons(); !slices.Equal(got, want) {
		t.Errorf("reasons %q, want %q", got, want)
	}
	s.hold(t, first, ada)
	w.shows(first, 9, 1, 0)
}

func TestLiveNarrowed(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	a, b, c := s.drop(t, nil), s.drop(t, nil), s.drop(t, nil)
	two := s.watch(t, fmt.Sprintf("?drops=%d,%d", a, c))
	one := s.watch(t, fmt.Sprintf("?drops=%d", c))
	ada := s.user(t, "ada")
	for _, drop := range []int64{a, b, c} {
		s.hold(t, drop, ada)
	}
	two.shows(a, 9, 1, 0)
	two.shows(c, 9, 1, 0)
	one.shows(c, 9, 1, 0)
	if two.last(b).Version+one.last(a).Version+one.last(b).Version > 0 {
		t.Error("told of drops that were not named")
	}
	for _, query := range []string{"?drops=x", "?drops=1,,2", "?drops=0", "?drops=" + strings.Repeat("1,", 100) + "1"} {
		if _, r, err := s.dial(t, query, nil); err == nil || r.status != http.StatusBadRequest {
			t.Errorf("%s: %d, %v", query, r.status, err)
		}
	}
}

// TestLiveCountsPurchases sells many units at once: those that are not told one
// by one are counted.
func TestLiveCountsPurchases(t *testing.T) {
	t.Parallel()
	const units = 200
	s := newServer(t, feed(func(c *live.Config) { c.Every = 300 * time.Millisecond }))
	drop := s.drop(t, fields{"total_stock": units})
	ada := s.user(t, "ada")
	w := s.watch(t, "")
	holds := make([]int64, units)
	for i := range holds {
		r, err := s.engine.Reserve(t.Context(), engine.ReserveRequest{Drop: drop, User: ada})
		must(t, err)
		holds[i] = r.ID
	}
	var wg sync.WaitGroup
	for _, id := range holds {
		wg.Go(func() {
			if _, err := s.engine.Purchase(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	w.shows(drop, 0, 0, units)
	w.until(func() bool { return w.sold[drop] == units })
	w.until(func() bool { return len(w.named("purchase_complete")) < units/2 }) // not one by one
}

func TestLiveOrigins(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) {
		w.api = func(cfg *api.Config) { cfg.CORSOrigins = []string{"https://shop.example", "https://*.drops.example"} }
	})
	host := strings.TrimPrefix(s.url, "http://")
	for origin, allowed := range map[string]bool{
		"": true, s.url: true, "https://" + host: true, "https://shop.example": true, "https://eu.drops.example": true,
		"https://evil.example": false, "http://shop.example": false, "https://drops.example.evil.example": false,
		"https://drops.example": false, "null": false, "https://" + host + ".evil.example": false, "http://127.0.0.1:1": false,
	} {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		conn, r, err := s.dial(t, "", header)
		if allowed != (err == nil) {
			t.Errorf("origin %q: %v", origin, err)
		}
		if !allowed && r.status != http.StatusForbidden {
			t.Errorf("origin %q is answered %d", origin, r.status)
		}
		if conn != nil {
			_ = conn.Close()
		}
	}
	s.get(t, "/ws").refused(t, 426, "upgrade_required", "WebSocket handshake expected")
}

func TestLiveLimits(t *testing.T) {
	t.Parallel()
	refused := func(s *server, status int) {
		t.Helper()
		if _, r, err := s.dial(t, "", nil); err == nil || r.status != status {
			t.Errorf("one too many: %d, %v; want %d", r.status, err, status)
		}
	}
	s := newServer(t, feed(func(c *live.Config) { c.MaxSocketsPerAddress = 2 }))
	first := s.watch(t, "")
	s.watch(t, "")
	refused(s, 429)
	_ = first.conn.Close() // makes room
	harness.Eventually(t, 10*time.Second, func() error {
		conn, _, err := s.dial(t, "", nil)
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
	s = newServer(t, feed(func(c *live.Config) { c.MaxSockets = 1 }))
	s.watch(t, "")
	refused(s, 503)
}

// TestLiveBadClients has clients send what they must not, or go silent; a good
// one watches on.
func TestLiveBadClients(t *testing.T) {
	t.Parallel()
	s := newServer(t, feed(func(c *live.Config) { c.PingEvery = 400 * time.Millisecond }))
	drop := s.drop(t, nil)
	good := s.watch(t, "")

	big := s.watch(t, "")
	_ = big.conn.WriteMessage(websocket.TextMessage, make([]byte, 1<<20)) // it may be cut off half way
	big.closes(1009)

	flood := s.watch(t, "")
	for range 10_000 {
		if flood.conn.WriteMessage(websocket.TextMessage, []byte("x")) != nil {
			break // closed in the meantime
		}
	}
	flood.closes(1008)

	pings := s.watch(t, "")
	for range 10_000 {
		if pings.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)) != nil {
			break
		}
	}
	pings.closes(1008)

	// A message in endless empty parts, none of which is a whole frame.
	parts := s.watch(t, "")
	_, _ = parts.conn.NetConn().Write([]byte{0x01, 0x80, 0, 0, 0, 0})
	for range 10_000 {
		if _, err := parts.conn.NetConn().Write([]byte{0x00, 0x80, 0, 0, 0, 0}); err != nil {
			break
		}
	}
	parts.closes(1008)

	unmasked := s.watch(t, "")
	_, _ = unmasked.conn.NetConn().Write([]byte{0x81, 0x01, 'x'})
	unmasked.closes(1002)

	// Half open: the handshake is done, then nobody answers pings.
	half, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	must(t, err)
	defer half.Close()
	_, err = fmt.Fprintf(half, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	must(t, err)
	must(t, half.SetReadDeadline(time.Now().Add(10*time.Second)))
	buf := make([]byte, 4096)
	for err == nil {
		_, err = half.Read(buf)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a half-open connection is kept")
	}

	// The good one has answered its pings and is told as ever.
	good.until(func() bool { return len(good.named("time")) > 2 })
	s.hold(t, drop, s.user(t, "ada"))
	good.shows(drop, 9, 1, 0)
	if f := s.get(t, fmt.Sprint("/api/admin/figures?drop=", drop)).want(t, 200); f.body["sockets"].(map[string]any)["websocket"] != 1.0 {
		t.Errorf("sockets: %v", f.body["sockets"])
	}
}

// stalled is a client with a small window that has stopped reading.
func (s *server) stalled(t *testing.T) *websocket.Conn {
	t.Helper()
	conn, _, err := s.dial(t, "", nil, smallWindow)
	must(t, err)
	return conn
}

// smallWindow has the client take in little ahead. Segments are short as on
// other networks: those of the loopback are longer than the window, by which
// either side waits for the other's timers.
func smallWindow(d *websocket.Dialer) {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if controlled := c.Control(func(fd uintptr) {
			err = errors.Join(
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400),
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 32<<10),
			)
		}); controlled != nil {
			return controlled
		}
		return err
	}}
	d.NetDialContext = dialer.DialContext
}

// storm changes the drop until stop is called, by holds that are cancelled.
func (s *server) storm(t *testing.T, e *engine.Engine, drop, user int64) (stop func()) {
	t.Helper()
	ending := make(chan struct{})
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for {
				select {
				case <-ending:
					return
				default:
				}
				r, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: drop, User: user})
				if err == nil {
					_, err = e.Cancel(t.Context(), r.ID)
				}
				if err != nil && t.Context().Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	stop = sync.OnceFunc(func() { close(ending); running.Wait() })
	t.Cleanup(stop)
	return stop
}

// filler is a drop with many sizes, whose frames fill the buffers soon, and a
// way to have so many frames told of it.
func (s *server) filler(t *testing.T, ada int64, good *watching) (drop int64, fill func(rounds int)) {
	t.Helper()
	sizes := make([]fields, engine.MaxSizes)
	for i := range sizes {
		sizes[i] = fields{"size": fmt.Sprintf("a long name of size %d", i), "stock": 100}
	}
	drop = s.drop(t, fields{"total_stock": absent, "sizes": sizes})
	return drop, func(rounds int) {
		from := len(good.all())
		for i := 0; len(good.all()) < from+rounds; i++ {
			r, err := s.engine.Reserve(t.Context(), engine.ReserveRequest{Drop: drop, User: ada, Size: fmt.Sprintf("a long name of size %d", i%engine.MaxSizes)})
			must(t, err)
			_, err = s.engine.Cancel(t.Context(), r.ID)
			must(t, err)
		}
	}
}

// TestLiveSlowClient has a client stop reading for a while: then it is told the
// newest state, and not all it missed.
func TestLiveSlowClient(t *testing.T) {
	t.Parallel()
	s := newServer(t, feed(func(c *live.Config) { c.Every, c.WriteTimeout, c.PingEvery = time.Millisecond, time.Hour, time.Hour }))
	ada, good := s.user(t, "ada"), s.watch(t, "")
	drop, fill := s.filler(t, ada, good)
	slow := s.stalled(t)
	fill(100)
	last := s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": ada, "size": "a long name of size 0"}).want(t, 201)
	good.shows(drop, 64*100-1, 1, 0)

	var seen stock
	frames, version := 0, int64(0)
	must(t, slow.SetReadDeadline(time.Now().Add(time.Minute)))
	for seen.Held != 1 || seen.Version != good.last(drop).Version {
		_, frame, err := slow.ReadMessage()
		must(t, err)
		var e event
		must(t, json.Unmarshal(frame, &e))
		if e.Event == "stock_update" {
			must(t, json.Unmarshal(e.Data, &seen))
			if seen.Version < version {
				t.Fatalf("version %d after %d", seen.Version, version)
			}
			version = seen.Version
			frames++
		}
	}
	if frames > 100 {
		t.Errorf("the slow client was told all of %d frames", frames)
	}
	s.cancel(t, last.int(t, "id")).want(t, 200)
	good.shows(drop, 64*100, 0, 0)
}

// TestLiveStuckClient has a client stop reading for good: it is closed, and told
// why if it reads at last; the others do not notice.
func TestLiveStuckClient(t *testing.T) {
	t.Parallel()
	s := newServer(t, feed(func(c *live.Config) {
		c.Every, c.WriteTimeout, c.PingEvery = time.Millisecond, 5*time.Second, time.Hour
	}))
	ada, good := s.user(t, "ada"), s.watch(t, "")
	drop, fill := s.filler(t, ada, good)
	stuck, _, err := s.dial(t, "", nil, smallWindow)
	must(t, err)
	fill(150)
	closed := func() float64 {
		for line := range strings.Lines(string(s.get(t, "/metrics").raw)) {
			var n float64
			if _, err := fmt.Sscanf(line, `holdfast_live_closed_total{reason="slow"} %f`, &n); err == nil {
				return n
			}
		}
		return 0
	}
	harness.Eventually(t, 30*time.Second, func() error {
		if closed() == 0 {
			return errors.New("a client that does not read is kept")
		}
		return nil
	})
	must(t, stuck.SetReadDeadline(time.Now().Add(30*time.Second)))
	for err == nil {
		_, _, err = stuck.ReadMessage()
	}
	if !websocket.IsCloseError(err, 4008) {
		t.Errorf("it ended with %v, want 4008", err)
	}
	good.shows(drop, 64*100, 0, 0)
}

// TestLiveAfterLostSubscription cuts the instance's line to Redis for 3 s while
// another one sells.
func TestLiveAfterLostSubscription(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	proxy := harness.NewProxy(t, env.RedisURL)
	s := startServer(t, env, func(w *wiring) { w.redisURL = proxy.URL() })
	direct := startServer(t, env)
	drop := s.drop(t, fields{"total_stock": 1000})
	other := s.drop(t, fields{"total_stock": absent, "sizes": []fields{{"size": "42", "stock": 5}, {"size": "43", "stock": 5}}})
	ada := direct.user(t, "ada")
	holdOf := func(size string) {
		direct.post(t, "/api/drops/reserve", fields{"dropId": other, "userId": ada, "size": size}).want(t, 201)
	}
	clients := make([]*watching, 30)
	for i := range clients {
		clients[i] = s.watch(t, "")
	}
	stop := direct.storm(t, direct.engine, drop, ada)
	clients[0].until(func() bool { return clients[0].drops[drop].Version > 20 })
	proxy.Cut()
	cut := time.Now()
	holdOf("42") // is told by nobody
	harness.Eventually(t, 10*time.Second, func() error {
		if time.Since(cut) < 3*time.Second {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	stop()
	direct.hold(t, drop, ada)
	proxy.Restore()
	restored := time.Now()
	for _, w := range clients {
		w.shows(drop, 999, 1, 0)
		w.shows(other, 9, 1, 0)
	}
	if late := time.Since(restored); late > 2*time.Second {
		t.Errorf("clients were right only %v after the line was back", late)
	}
	holdOf("43")
	clients[0].shows(other, 8, 2, 0)
}

// TestLiveWithoutPostgres starts where Postgres does not answer: nobody is told
// that there are no drops, and all is there once it does.
func TestLiveWithoutPostgres(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	before := startServer(t, env)
	drop := before.drop(t, nil)
	proxy := harness.NewProxy(t, env.DatabaseURL)
	proxy.Cut()
	s := startServer(t, env, func(w *wiring) { w.databaseURL, w.noWriter = proxy.URL(), true })
	if _, r, err := s.dial(t, "", nil); err == nil || r.status != http.StatusServiceUnavailable {
		t.Errorf("without the catalogue: %d, %v", r.status, err)
	}
	proxy.Restore()
	harness.Eventually(t, 10*time.Second, func() error {
		conn, _, err := s.dial(t, "", nil)
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
	s.watch(t, "").shows(drop, 10, 0, 0)
}

// TestLiveAfterLostData has Redis lose a drop: clients begin anew.
func TestLiveAfterLostData(t *testing.T) {
	t.Parallel()
	s := newServer(t, feed(func(c *live.Config) { c.CheckEvery = 100 * time.Millisecond }))
	drop := s.drop(t, nil)
	s.hold(t, drop, s.user(t, "ada"))
	w := s.watch(t, "")
	w.shows(drop, 9, 1, 0)
	redis := s.env.Redis()
	keys, err := redis.Keys(t.Context(), fmt.Sprintf("%s:*drop:%d", s.env.Prefix, drop)).Result()
	if err != nil || len(keys) != 1 {
		t.Fatalf("keys %q, %v", keys, err)
	}
	must(t, redis.Del(t.Context(), keys...).Err())
	w.until(func() bool {
		return len(w.named("snapshot")) == 2 && w.drops[drop].State == "paused" && w.drops[drop].Available == 0
	})
	must(t, s.engine.Open(t.Context(), engine.Drop{
		ID: drop, Start: time.Now(), Hold: time.Minute, FirstSeq: 100, Sizes: []engine.SizeStock{{Stock: 10, Sold: 2}},
	}))
	w.shows(drop, 8, 0, 2)
	if v := w.last(drop).Version; v < 100 {
		t.Errorf("the version began again at %d", v)
	}
}

func TestLiveShutdown(t *testing.T) {
	var w *watching
	t.Run("serve", func(inner *testing.T) { // whose end is the server's
		w = newServer(inner).watch(t, "")
	})
	w.closes(1001)
}
