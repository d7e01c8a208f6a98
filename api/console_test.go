package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/test/harness"
)

func (s *server) figures(t *testing.T, drop int64) reply {
	t.Helper()
	return s.get(t, fmt.Sprint("/api/admin/figures?drop=", drop)).want(t, 200)
}

// part is an object within the answer.
func (r reply) part(t *testing.T, field string) reply {
	t.Helper()
	body, ok := r.body[field].(map[string]any)
	if !ok {
		t.Fatalf("%s is %v, want an object: %s", field, r.body[field], r.raw)
	}
	return reply{body: body, raw: r.raw}
}

// time is a time of the answer.
func (r reply) time(t *testing.T, field string) time.Time {
	t.Helper()
	s, _ := r.body[field].(string)
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatalf("%s is %v: %s", field, r.body[field], r.raw)
	}
	return at
}

// figuresBecome polls the drop's figures until ok returns nil.
func (s *server) figuresBecome(t *testing.T, drop int64, ok func(reply) error) (r reply) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, func() error {
		r = s.figures(t, drop)
		if err := ok(r); err != nil {
			return fmt.Errorf("%w: %s", err, r.raw)
		}
		return nil
	})
	return r
}

func (s *server) reserveRefused(t *testing.T, times int, drop, user int64, status int, code string) {
	t.Helper()
	for range times {
		r := s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": user}).want(t, status)
		r.has(t, fields{"code": code})
	}
}

func TestFiguresOfASale(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) { w.noWriter = true })
	drop := s.drop(t, fields{"total_stock": 2, "limit_per_customer": 1})
	ada, bob, cyd := s.user(t, "ada"), s.user(t, "bob"), s.user(t, "cyd")
	before := s.figures(t, drop).has(t, fields{
		"refusals": fields{}, "ledger": fields{"entries": 0, "lag_seconds": 0},
		"restore_lag_ms": nil, "overdue": 0, "sockets": fields{"socketio": 0, "websocket": 0},
	})
	isTime(t, before.body["server_time"], time.Now())

	s.hold(t, drop, ada)
	s.reserveRefused(t, 2, drop, ada, 409, "limit_reached")
	s.purchase(t, s.hold(t, drop, bob)).want(t, 201)
	s.reserveRefused(t, 3, drop, cyd, 400, "out_of_stock")
	at := func(d time.Duration) string { return time.Now().Add(d).Format(time.RFC3339) }
	soon, over, paused := s.drop(t, fields{"start_time": at(time.Hour)}), s.drop(t, fields{"end_time": at(-time.Second)}), s.drop(t, nil)
	pause(t, s, paused)
	s.reserveRefused(t, 4, soon, ada, 409, "not_started")
	s.reserveRefused(t, 5, over, ada, 409, "ended")
	s.reserveRefused(t, 6, paused, ada, 409, "paused")

	after := s.figures(t, drop)
	row := s.get(t, fmt.Sprint("/api/drops/", drop)).want(t, 200)
	after.part(t, "drop").has(t, fields{
		"id": drop, "state": "open", "total_stock": 2, "available_stock": 0, "held": 1, "sold": 1, "version": row.body["version"],
	})
	if given := after.int(t, "reservations") - before.int(t, "reservations"); given != 2 {
		t.Errorf("%d reservations between, want 2", given)
	}
	if after.time(t, "server_time").Before(before.time(t, "server_time")) {
		t.Errorf("the time went from %v to %v", before.body["server_time"], after.body["server_time"])
	}
	for drop, want := range map[int64]fields{
		drop: {"limit_reached": 2, "out_of_stock": 3}, soon: {"not_started": 4}, over: {"ended": 5}, paused: {"paused": 6},
	} {
		got := s.figures(t, drop).part(t, "refusals")
		got.has(t, want)
		for code, n := range got.body {
			if want[code] == nil && n != float64(0) {
				t.Errorf("drop %d has refused %v as %s, want %v", drop, n, code, want)
			}
		}
	}
	s.figures(t, paused).part(t, "drop").has(t, fields{"state": "paused"})
	if other := startServer(t, s.env, func(w *wiring) { w.noWriter = true }).figures(t, drop); len(other.part(t, "refusals").body) != 0 {
		t.Errorf("an instance that has refused nothing tells of refusals: %s", other.raw)
	}
}

func TestFiguresTellHowFarTheLedgerIs(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) { w.noWriter = true })
	user := s.user(t, "ada")
	a, b := s.drop(t, nil), s.drop(t, nil) // of both partitions
	s.purchase(t, s.hold(t, a, user)).want(t, 201)
	s.cancel(t, s.hold(t, b, user)).want(t, 200)
	last := 0.0
	for range 2 { // the lag rises
		s.figuresBecome(t, a, func(r reply) error {
			ledger := r.part(t, "ledger").has(t, fields{"entries": 2})
			lag, _ := ledger.body["lag_seconds"].(float64)
			if lag <= last {
				return fmt.Errorf("a lag of %v after one of %v", lag, last)
			}
			last = lag
			return nil
		})
	}
	if last > 60 {
		t.Errorf("a lag of %v s", last)
	}
	s.startWriter(t)
	r := s.figuresBecome(t, b, func(r reply) error {
		if n := r.part(t, "ledger").int(t, "entries"); n > 0 {
			return fmt.Errorf("%d entries", n)
		}
		return nil
	})
	r.has(t, fields{"ledger": fields{"entries": 0, "lag_seconds": 0}})
}

func TestFiguresTellHowLateHoldsComeBack(t *testing.T) {
	t.Parallel()
	const idle = 100 * time.Millisecond
	s := newServer(t, func(w *wiring) { w.noExpirer = true })
	user := s.user(t, "ada")
	drop, other := s.drop(t, fields{"hold_seconds": 0.25}), s.drop(t, nil)
	third := s.drop(t, nil) // of the first one's partition
	deadline := s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": user}).want(t, 201).time(t, "expires_at")
	s.hold(t, drop, user)
	s.hold(t, other, user)
	s.hold(t, third, user)
	late := s.figuresBecome(t, drop, func(r reply) error {
		if n := r.int(t, "overdue"); n != 2 {
			return fmt.Errorf("%d overdue", n)
		}
		if by := r.time(t, "server_time").Sub(deadline); by < idle {
			return fmt.Errorf("late by %v", by)
		}
		return nil
	})
	late.has(t, fields{"restore_lag_ms": nil}).part(t, "drop").has(t, fields{"available_stock": 8, "held": 2})
	least := late.time(t, "server_time").Sub(deadline).Milliseconds()
	for _, drop := range []int64{other, third} {
		s.figures(t, drop).has(t, fields{"overdue": 0, "restore_lag_ms": nil})
	}

	s.startExpirer(t)
	back := s.figuresBecome(t, drop, func(r reply) error {
		if r.body["restore_lag_ms"] == nil || r.int(t, "overdue") != 0 || r.part(t, "drop").int(t, "available_stock") != 10 {
			return errors.New("not back yet")
		}
		return nil
	})
	most := s.figures(t, drop).time(t, "server_time").Sub(deadline).Milliseconds()
	if by := back.int(t, "restore_lag_ms"); by < least || by > most {
		t.Errorf("came back %d ms late, want %d … %d", by, least, most)
	}
	for _, drop := range []int64{other, third} {
		s.figures(t, drop).has(t, fields{"overdue": 0, "restore_lag_ms": nil})
	}
}

func TestFiguresOfNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.drop(t, nil)
	s.get(t, "/api/admin/figures").invalid(t, "drop")
	for _, drop := range []string{"", "0", "-1", "x", "1.5", "16777216", "99999999999999999999", "1,2"} {
		s.get(t, "/api/admin/figures?drop="+drop).invalid(t, "drop")
	}
	s.get(t, "/api/admin/figures?drop=99").refused(t, 404, "drop_not_found", "Drop not found")
	s.do(t, http.MethodPost, "/api/admin/figures?drop=1", "", nil).refused(t, 405, "method_not_allowed", "Method not allowed")
}

// connect opens a WebSocket, as openapi.yaml has it.
func (s *server) connect(t *testing.T) *websocket.Conn {
	t.Helper()
	conn, r, err := s.dial(t, "", nil)
	must(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/ws", nil)
	must(t, err)
	s.check(t, request, r)
	return conn
}

// handshake are the headers of one, to be refused.
func handshake() http.Header {
	return http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
}

func TestFiguresCountSockets(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop := s.drop(t, nil)
	connected := func(want int64) {
		t.Helper()
		s.figuresBecome(t, drop, func(r reply) error {
			if n := r.part(t, "sockets").has(t, fields{"socketio": 0}).int(t, "websocket"); n != want {
				return fmt.Errorf("%d connected, want %d", n, want)
			}
			return nil
		})
	}
	connected(0)
	first := s.connect(t)
	connected(1)
	s.connect(t)
	connected(2)
	must(t, first.Close())
	connected(1)
}

func TestHandshakesThatAreRefused(t *testing.T) {
	t.Parallel()
	refused := func(s *server, path string, status int, code string, headers ...string) {
		t.Helper()
		h := handshake()
		for i := 0; i < len(headers); i += 2 {
			h.Set(headers[i], headers[i+1])
		}
		r := s.do(t, http.MethodGet, path, "", h)
		if r.status != status || r.body["code"] != code {
			t.Errorf("%s with %v: answer %d %s, want %d %s", path, headers, r.status, r.raw, status, code)
		}
	}
	s := newServer(t, func(w *wiring) {
		w.api = func(c *api.Config) { c.CORSOrigins, c.Live.MaxSocketsPerAddress = []string{"https://shop.example"}, 1 }
	})
	s.get(t, "/ws").refused(t, 426, "upgrade_required", "WebSocket handshake expected")
	for _, drops := range []string{"x", "0", "-1", "1,", "1;2", strings.Repeat("1,", 100) + "1"} {
		s.do(t, http.MethodGet, "/ws?drops="+drops, "", handshake()).invalid(t, "drops")
	}
	refused(s, "/ws", 403, "forbidden_origin", "Origin", "https://evil.example")
	s.connect(t)
	refused(s, "/ws?drops=1,2", 429, "too_many_sockets", "Origin", "https://shop.example")

	full := newServer(t, func(w *wiring) { w.api = func(c *api.Config) { c.Live.MaxSockets = 1 } })
	full.connect(t)
	refused(full, "/ws", 503, "overloaded")
}

// holds are those that are listed.
func (r reply) holds(t *testing.T) []reply {
	t.Helper()
	list, ok := r.body["holds"].([]any)
	if !ok {
		t.Fatalf("holds are %v, want a list: %s", r.body["holds"], r.raw)
	}
	out := make([]reply, len(list))
	for i, hold := range list {
		out[i] = reply{body: hold.(map[string]any), raw: r.raw}
	}
	return out
}

func (s *server) holds(t *testing.T, drop int64, query string) reply {
	t.Helper()
	return s.get(t, fmt.Sprintf("/api/drops/%d/holds%s", drop, query)).want(t, 200)
}

func TestHolds(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop := s.drop(t, fields{"total_stock": absent, "sizes": []fields{{"size": "42", "stock": 9}, {"size": "½ größe", "stock": 1}}})
	s.drop(t, nil)
	pool := s.drop(t, nil) // of the first one's partition
	none := s.holds(t, drop, "").has(t, fields{"total": 0, "holds": []any{}})
	isTime(t, none.body["server_time"], time.Now())

	s.hold(t, pool, s.user(t, "eve"))
	want := make([]fields, 0, 5)
	for i, name := range []string{"ada", "bob", "cyd", "ada", "dan"} {
		size := "42"
		if i == 1 {
			size = "½ größe"
		}
		r := s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userName": name, "size": size}).want(t, 201)
		want = append(want, fields{
			"id": r.body["id"], "UserId": r.body["UserId"], "User": fields{"username": name}, "size": size,
			"created_at": r.body["created_at"], "expires_at": r.body["expires_at"],
		})
	}
	s.holds(t, drop, "").has(t, fields{"total": 5, "holds": want})
	s.holds(t, drop, "?limit=1000").has(t, fields{"total": 5, "holds": want})
	s.holds(t, drop, "?limit=2").has(t, fields{"total": 5, "holds": want[:2]})
	list := s.holds(t, pool, "").has(t, fields{"total": 1}).holds(t)
	if len(list) != 1 {
		t.Fatalf("holds %v", list)
	}
	list[0].has(t, fields{"User": fields{"username": "eve"}, "size": nil})

	s.purchase(t, int64(want[0]["id"].(float64))).want(t, 201)
	s.cancel(t, int64(want[3]["id"].(float64))).want(t, 200)
	s.holds(t, drop, "").has(t, fields{"total": 3, "holds": []fields{want[1], want[2], want[4]}})
}

func TestLapsedHoldsAreNotListed(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) { w.noExpirer = true })
	drop := s.drop(t, fields{"hold_seconds": 0.25})
	s.hold(t, drop, s.user(t, "ada"))
	gone := func(total int64) {
		t.Helper()
		harness.Eventually(t, 10*time.Second, func() error {
			if r := s.holds(t, drop, ""); r.int(t, "total") != total || len(r.holds(t)) > 0 {
				return fmt.Errorf("holds %s, want none of %d", r.raw, total)
			}
			return nil
		})
	}
	gone(1) // lapsed, and not back yet
	s.startExpirer(t)
	gone(0)
}

func TestHoldsOfNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop := s.drop(t, nil)
	for _, limit := range []string{"0", "-1", "1001", "x", "1.5", "99999999999999999999"} {
		s.get(t, fmt.Sprintf("/api/drops/%d/holds?limit=%s", drop, limit)).invalid(t, "limit")
	}
	for _, id := range []string{"99", "0", "-1", "16777216", "99999999999999999999"} {
		s.get(t, "/api/drops/"+id+"/holds").refused(t, 404, "drop_not_found", "Drop not found")
	}
	s.get(t, "/api/drops/x/holds").invalid(t, "id")
	s.do(t, http.MethodPost, "/api/drops/1/holds", "", nil).refused(t, 405, "method_not_allowed", "Method not allowed")
}

func TestConsoleWithoutRedis(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	proxy := harness.NewProxy(t, env.RedisURL)
	s := startServer(t, env, func(w *wiring) { w.redisURL, w.timeout = proxy.URL(), time.Second })
	drop := s.drop(t, nil)
	s.hold(t, drop, s.user(t, "ada"))
	paths := []string{fmt.Sprint("/api/admin/figures?drop=", drop), fmt.Sprintf("/api/drops/%d/holds", drop)}
	proxy.Cut()
	for _, path := range paths {
		s.get(t, path).unavailable(t)
	}
	proxy.Restore()
	for _, path := range paths {
		harness.Eventually(t, 10*time.Second, func() error {
			if r := s.get(t, path); r.status != 200 {
				return fmt.Errorf("%s: %s", path, r.raw)
			}
			return nil
		})
	}
}

func TestConsoleWithoutPostgres(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	proxy := harness.NewProxy(t, env.DatabaseURL)
	quick := startServer(t, env)
	drop := quick.drop(t, nil)
	ada, bob := quick.user(t, "ada"), quick.user(t, "bob")
	quick.hold(t, drop, ada)
	quick.hold(t, drop, bob)
	// Another instance has met ada alone.
	s := startServer(t, env, func(w *wiring) {
		w.databaseURL, w.timeout, w.noWriter, w.noExpirer = proxy.URL(), time.Second, true, true
	})
	s.get(t, fmt.Sprint("/api/users/", ada)).want(t, 200)

	proxy.Cut()
	named := func(want ...any) error {
		r := s.holds(t, drop, "").has(t, fields{"total": 2})
		for i, hold := range r.holds(t) {
			hold.has(t, fields{"UserId": []int64{ada, bob}[i], "size": nil})
			if fmt.Sprint(hold.body["User"]) != fmt.Sprint(want[i]) {
				return fmt.Errorf("hold %d of %s, want %v", i, r.raw, want[i])
			}
		}
		if len(r.holds(t)) != len(want) {
			return fmt.Errorf("%s, want %d holds", r.raw, len(want))
		}
		return nil
	}
	must(t, named(map[string]any{"username": "ada"}, nil))
	s.figures(t, drop).part(t, "drop").has(t, fields{"held": 2})
	proxy.Restore()
	harness.Eventually(t, 10*time.Second, func() error {
		return named(map[string]any{"username": "ada"}, map[string]any{"username": "bob"})
	})
}
