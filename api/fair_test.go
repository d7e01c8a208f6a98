package api_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/fair"
	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// few is a burst that is not refilled while a test runs.
func few(burst int) fair.Rate { return fair.Rate{PerSecond: 0.01, Burst: burst} }

// fairServer has limits, and believes what this machine says of clients.
func fairServer(t *testing.T, cfg fair.Config, trusted ...string) *server {
	t.Helper()
	return newServer(t, withLimits(t, cfg, trusted...))
}

func withLimits(t *testing.T, cfg fair.Config, trusted ...string) func(*wiring) {
	t.Helper()
	proxies, err := fair.ParseProxies(trusted)
	must(t, err)
	return func(w *wiring) {
		w.api = func(c *api.Config) { c.Fair, c.Proxies = fair.New(cfg), proxies }
	}
}

// later fails unless a 429 says when to come again.
func (r reply) later(t *testing.T) reply {
	t.Helper()
	if n, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || n < 1 {
		t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
	}
	return r
}

func TestLimitOfAnAddress(t *testing.T) {
	t.Parallel()
	s := fairServer(t, fair.Config{Address: fair.Limits{fair.Reserve: few(3), fair.Cancel: few(1), fair.Socket: few(1)}}, "127.0.0.1")
	drop, user := s.drop(t, nil), s.user(t, "ada") // the user is one of the three
	body := fields{"dropId": drop, "userId": user}
	for range 2 {
		s.post(t, "/api/drops/reserve", body).want(t, 201)
	}
	s.leavesNoTrace(t, func() {
		began := time.Now()
		r := s.post(t, "/api/drops/reserve", body).refused(t, 429, "rate_limited", "Too many requests").later(t)
		if took := time.Since(began); took < 200*time.Millisecond {
			t.Errorf("refused within %v: who calls again at once is not slowed down", took)
		}
		if p := r.header.Get("RateLimit-Policy"); p != `"reserve-address";q=3;w=300` {
			t.Errorf("RateLimit-Policy %s", p)
		}
		if l := r.header.Get("RateLimit"); l != `"reserve-address";r=0;t=`+r.header.Get("Retry-After") {
			t.Errorf("RateLimit %s, Retry-After %s", l, r.header.Get("Retry-After"))
		}
		// Before anything of it is read, and by whatever name the route goes.
		for _, path := range []string{"/api/drops/reserve", "/API/Drops/RESERVE", "/api/drops/reserve/", "/api/drops/reserve?x=1"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, strings.NewReader("{"))
			must(t, err)
			s.send(t, request).refused(t, 429, "rate_limited", "Too many requests")
		}
	})
	s.get(t, fmt.Sprint("/api/drops/", drop)).want(t, 200)
	// Somebody else behind the same proxy, and who makes up where they come from.
	s.post(t, "/api/drops/reserve", body, "X-Forwarded-For", "198.51.100.1").want(t, 201)
	for i := range 3 {
		r := s.post(t, "/api/drops/reserve", body, "X-Forwarded-For", fmt.Sprintf("203.0.113.%d, 198.51.100.1", i))
		if want := []int{201, 201, 429}[i]; r.status != want {
			t.Errorf("call %d of 198.51.100.1: %d, want %d", i+2, r.status, want)
		}
	}
	for i := range 2 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/ws", http.NoBody)
		must(t, err)
		if want := []int{426, 429}[i]; s.send(t, request).status != want {
			t.Errorf("socket %d is not answered %d", i, want)
		}
	}
}

func TestForwardedForOfAStrangerIsNothing(t *testing.T) {
	t.Parallel()
	s := fairServer(t, fair.Config{Address: fair.Limits{fair.Cancel: few(2)}}, "192.0.2.1")
	for i := range 3 {
		r := s.post(t, "/api/drops/cancel", fields{"reservationId": 1}, "X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i))
		if want := []int{404, 404, 429}[i]; r.status != want {
			t.Errorf("call %d: %d, want %d", i, r.status, want)
		}
		if r.closes != (r.status == 429) {
			t.Errorf("call %d, answered %d, closes the connection: %v", i, r.status, r.closes)
		}
	}
}

// One person from many addresses is one person.
func TestLimitOfAPerson(t *testing.T) {
	t.Parallel()
	s := fairServer(t, fair.Config{User: fair.Limits{fair.Reserve: few(2), fair.Purchase: few(2), fair.Cancel: few(2)}}, "127.0.0.0/8")
	drop, ada, bob := s.drop(t, nil), s.user(t, "ada"), s.user(t, "bob")
	var held int64
	for i := range 5 {
		r := s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": ada}, "X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i))
		if i < 2 {
			held = r.want(t, 201).int(t, "id")
		} else {
			r.refused(t, 429, "rate_limited", "Too many requests").later(t)
		}
	}
	s.hold(t, drop, bob)
	for i, want := range []int{201, 200, 200} { // nobody says who buys
		if r := s.purchase(t, held); r.status != want {
			t.Errorf("purchase %d: %d", i, r.status)
		}
	}
}

// Where tokens say who calls, a stranger who goes on about a hold uses up their
// own limit, not its owner's.
func TestLimitOfATokensPerson(t *testing.T) {
	t.Parallel()
	s := newServer(t, withLimits(t, fair.Config{User: fair.Limits{fair.Purchase: few(2), fair.Read: few(3)}}), withTokens(t))
	drop, ada, bob := s.drop(t, nil), s.user(t, "ada"), s.user(t, "bob")
	owner, stranger := as(tokenOf(t, strconv.FormatInt(ada, 10))), as(tokenOf(t, strconv.FormatInt(bob, 10)))
	held := s.post(t, "/api/drops/reserve", fields{"dropId": drop}, owner...).want(t, 201).int(t, "id")
	for _, want := range []int{404, 404, 429} {
		if r := s.post(t, "/api/drops/purchase", fields{"reservationId": held}, stranger...); r.status != want {
			t.Errorf("a stranger's purchase: %d, want %d", r.status, want)
		}
	}
	s.post(t, "/api/drops/purchase", fields{"reservationId": held}, owner...).want(t, 201)
	for _, want := range []int{200, 200, 200, 429} {
		if r := s.do(t, http.MethodGet, fmt.Sprint("/api/reservations/", held), "", http.Header{owner[0]: {owner[1]}}); r.status != want {
			t.Errorf("a read: %d, want %d", r.status, want)
		}
	}
}

// A token is looked at only while its address has not used up its limit.
func TestLimitOfAnAddressComesBeforeTokens(t *testing.T) {
	t.Parallel()
	s := newServer(t, withLimits(t, fair.Config{Address: fair.Limits{fair.Reserve: few(2)}}), withTokens(t))
	for _, want := range []int{401, 401, 429} {
		if r := s.post(t, "/api/drops/reserve", fields{"dropId": 1}, as("no.valid.token")...); r.status != want {
			t.Errorf("status %d, want %d", r.status, want)
		}
	}
}

func TestTooManyHoldsAndCoolingDown(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) {
		w.engine = func(c *engine.Config) { c.MaxHoldsPerUser, c.CooldownLapses, c.Cooldown = 2, 2, time.Hour }
	})
	ada := s.user(t, "ada")
	brief := s.drop(t, fields{"hold_seconds": 0.25})
	first := s.hold(t, brief, ada)
	s.hold(t, brief, ada)
	harness.Eventually(t, 20*time.Second, func() error {
		r := s.post(t, "/api/drops/reserve", fields{"dropId": brief, "userId": ada})
		switch r.body["code"] {
		case "cooling_down":
			r.refused(t, 429, "cooling_down", "Too many holds were let lapse").later(t)
			return nil
		case "too_many_holds":
			r.refused(t, 409, "too_many_holds", "Too many units held at once")
		}
		return errors.New(string(r.raw))
	})
	s.become(t, first, "status", "expired")
	bob := s.user(t, "bob")
	drops := []int64{s.drop(t, nil), s.drop(t, nil), s.drop(t, nil)}
	a := s.hold(t, drops[0], bob)
	s.hold(t, drops[1], bob)
	s.post(t, "/api/drops/reserve", fields{"dropId": drops[2], "userId": bob}).refused(t, 409, "too_many_holds", "Too many units held at once")
	s.cancel(t, a).want(t, 200)
	s.hold(t, drops[2], bob)
}

// verifier accepts each token that begins with "good" once.
type verifier struct {
	url  string
	down sync.Mutex // held: no answer

	mu   sync.Mutex
	used map[string]bool
}

func startVerifier(t *testing.T) *verifier {
	t.Helper()
	v := &verifier{used: map[string]bool{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	v.url = "http://" + l.Addr().String() + "/siteverify"
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !v.down.TryLock() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		v.down.Unlock()
		v.mu.Lock()
		defer v.mu.Unlock()
		token := r.FormValue("response")
		good := len(token) > 4 && token[:4] == "good" && !v.used[token] && r.FormValue("secret") == "s3cret"
		v.used[token] = true
		_, _ = fmt.Fprintf(w, `{"success":%v,"error-codes":[]}`, good)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { must(t, server.Close()); <-done })
	return v
}

func (v *verifier) asked() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.used)
}

func TestChallenge(t *testing.T) {
	t.Parallel()
	v := startVerifier(t)
	challenge, err := fair.NewChallenge(fair.ChallengeConfig{URL: v.url, Secret: "s3cret", Log: quiet()})
	must(t, err)
	t.Cleanup(challenge.Close)
	s := newServer(t, func(w *wiring) { w.api = func(c *api.Config) { c.Challenge = challenge } })
	drop, plain, ada := s.drop(t, fields{"challenge": true, "total_stock": 2}), s.drop(t, nil), s.user(t, "ada")
	s.get(t, fmt.Sprint("/api/drops/", drop)).want(t, 200).has(t, fields{"challenge": true})
	s.get(t, fmt.Sprint("/api/drops/", plain)).want(t, 200).has(t, fields{"challenge": false})
	reserve := func(drop int64, token any, headers ...string) reply {
		return s.post(t, "/api/drops/reserve", with(fields{"dropId": drop, "userId": ada}, fields{"challenge_token": token}), headers...)
	}
	s.leavesNoTrace(t, func() {
		reserve(drop, absent).refused(t, 403, "challenge_required", "Challenge required")
		reserve(drop, nil).refused(t, 403, "challenge_required", "Challenge required")
		reserve(drop, "bad").refused(t, 403, "challenge_failed", "Challenge failed")
		v.down.Lock()
		reserve(drop, "good while down").refused(t, 503, "unavailable", "Temporarily unavailable").later(t)
		v.down.Unlock()
	})
	// One without a challenge asks nobody; a repeat with a key neither.
	asked := v.asked()
	reserve(plain, "good unused").want(t, 201)
	if v.asked() != asked {
		t.Error("the verifier was asked for a drop without a challenge")
	}
	first := reserve(drop, "good 1", "Idempotency-Key", "k").want(t, 201).int(t, "id")
	asked = v.asked()
	for _, token := range []any{"good 1", absent} {
		if again := reserve(drop, token, "Idempotency-Key", "k").want(t, 201); again.int(t, "id") != first {
			t.Errorf("the repeat is %s", again.raw)
		}
	}
	if v.asked() != asked {
		t.Error("the verifier was asked for a repeat")
	}
	reserve(drop, "good 1").refused(t, 403, "challenge_failed", "Challenge failed")
	reserve(drop, "good 2").want(t, 201)
	// A token is not spent on what is gone.
	asked = v.asked()
	reserve(drop, "good 3").refused(t, 400, "out_of_stock", "Out of stock")
	if v.asked() != asked {
		t.Error("the verifier was asked for a unit that was not there")
	}
}

func TestChallengeNeedsAVerifier(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.post(t, "/api/drops/create", with(newDrop(), fields{"challenge": true})).invalid(t, "challenge")
	s.post(t, "/api/drops/create", with(newDrop(), fields{"challenge": "yes"})).invalid(t, "challenge")
	s.post(t, "/api/drops/create", with(newDrop(), fields{"challenge": nil})).want(t, 201).has(t, fields{"challenge": false})
}

// An address gets its connections and no more; others get theirs, and who hangs
// up makes room.
func TestConnectionsOfAnAddress(t *testing.T) {
	t.Parallel()
	s := fairServer(t, fair.Config{MaxConns: 3})
	connect := func(from string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
		c, err := d.DialContext(t.Context(), "tcp", s.url[len("http://"):])
		if err != nil {
			// Shut so soon that the dial itself was reset.
			return nil, err
		}
		t.Cleanup(func() { _ = c.Close() })
		must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		if _, err = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err == nil {
			_, err = io.ReadFull(c, make([]byte, 12))
		}
		return c, err
	}
	first, err := connect("127.0.0.7")
	must(t, err)
	for range 2 {
		_, err := connect("127.0.0.7")
		must(t, err)
	}
	if _, err := connect("127.0.0.7"); err == nil {
		t.Error("a fourth connection is served")
	}
	_, err = connect("127.0.0.8")
	must(t, err)
	must(t, first.Close())
	harness.Eventually(t, 10*time.Second, func() error { _, err := connect("127.0.0.7"); return err })
}

func TestReadySaysWhetherUseIsFair(t *testing.T) {
	t.Parallel()
	fairServer(t, fair.Config{}).get(t, "/readyz").want(t, 200).has(t, fields{"fair_use": "on"})
	newServer(t).get(t, "/readyz").want(t, 200).has(t, fields{"fair_use": "off"})
}
