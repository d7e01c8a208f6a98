package api_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// unavailable fails unless the answer is a 503 that says when to come again.
func (r reply) unavailable(t *testing.T) {
	t.Helper()
	r.refused(t, 503, "unavailable", "Temporarily unavailable")
	if after := r.header.Get("Retry-After"); after != "1" {
		t.Errorf("Retry-After %q, want 1", after)
	}
}

func TestRedisAway(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	proxy := harness.NewProxy(t, env.RedisURL)
	s := startServer(t, env, func(w *wiring) { w.redisURL, w.timeout = proxy.URL(), time.Second })
	drop, user := s.drop(t, nil), s.user(t, "ada")
	held, other := s.hold(t, drop, user), s.hold(t, drop, user)
	before := s.traces(t)

	proxy.Cut()
	s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": user}).unavailable(t)
	s.purchase(t, held).unavailable(t)
	s.cancel(t, other).unavailable(t)
	s.get(t, fmt.Sprint("/api/reservations/", held)).unavailable(t)
	s.get(t, "/api/drops").unavailable(t)
	s.get(t, fmt.Sprint("/api/drops/", drop)).unavailable(t)
	s.get(t, "/healthz").want(t, 200)
	s.ready(t, "unavailable").want(t, 503).has(t, fields{"status": "unavailable", "redis": fields{"state": "no answer"}, "postgres": fields{"state": "ok"}})
	s.post(t, "/api/users", fields{"username": "ada"}).want(t, 200)

	proxy.Restore()
	harness.Eventually(t, 10*time.Second, func() error {
		if r := s.get(t, "/readyz"); r.status != 200 {
			return fmt.Errorf("readyz: %s", r.raw)
		}
		return nil
	})
	if after := s.traces(t); after != before {
		t.Errorf("traces were left.\nbefore: %s\nafter:  %s", before, after)
	}
	s.purchase(t, held).want(t, 201)
	s.cancel(t, other).want(t, 200)
	s.hold(t, drop, user)

	// Redis may have opened it, so its row stays; but it is not shown.
	proxy.Cut()
	s.post(t, "/api/drops/create", newDrop()).unavailable(t)
	proxy.Restore()
	s.get(t, fmt.Sprint("/api/drops/", drop+1)).want(t, 404)
}

func TestLostReplyIsHadByRepeating(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	proxy := harness.NewProxy(t, env.RedisURL)
	s := startServer(t, env, func(w *wiring) { w.redisURL = proxy.URL() })
	drop, user := s.drop(t, nil), s.user(t, "ada")
	s.hold(t, drop, user) // the script is loaded

	proxy.DropNextReply("a-lost-one")
	body := fields{"dropId": drop, "userId": user}
	s.post(t, "/api/drops/reserve", body, "Idempotency-Key", "a-lost-one").unavailable(t)
	s.wantStock(t, drop, 8, 2, 0)
	r := s.post(t, "/api/drops/reserve", body, "Idempotency-Key", "a-lost-one").want(t, 201)
	if r.header.Get("Idempotency-Replayed") != "true" {
		t.Error("the repeat does not say that it is one")
	}
	s.wantStock(t, drop, 8, 2, 0)
}

func TestPostgresAway(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	proxy := harness.NewProxy(t, env.DatabaseURL)
	s := startServer(t, env, func(w *wiring) { w.databaseURL, w.timeout = proxy.URL(), time.Second })
	drop, user := s.drop(t, nil), s.user(t, "ada")
	s.get(t, "/api/drops").want(t, 200)
	s.ready(t, "ready").want(t, 200).has(t, fields{"status": "ready", "redis": fields{"state": "ok"}, "postgres": fields{"state": "ok"}, "scripts": fields{"state": "ok"}, "fencing": fields{"state": "ok", "fenced_partitions": 0, "partitions": 2}, "roles": []string{"api"}, "version": "dev"})

	proxy.Cut()
	id := s.hold(t, drop, user)
	guest := s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userName": "ada"}).want(t, 201).has(t, fields{"UserId": user})
	s.reservation(t, id).has(t, fields{"status": "active"})
	s.purchase(t, id).want(t, 201)
	s.purchase(t, id).want(t, 200)
	s.reservation(t, id).has(t, fields{"status": "completed", "persisted": "accepted"})
	s.cancel(t, guest.int(t, "id")).want(t, 200)
	s.wantStock(t, drop, 9, 0, 1)
	if list := s.get(t, "/api/drops").want(t, 200); len(list.raw) < 10 {
		t.Errorf("no drops: %s", list.raw)
	}
	s.get(t, fmt.Sprint("/api/users/", user)).want(t, 200)
	s.get(t, "/healthz").want(t, 200)
	s.ready(t, "degraded").want(t, 200).has(t, fields{"status": "degraded", "redis": fields{"state": "ok"}, "postgres": fields{"state": "no answer"}})

	s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": user + 1}).unavailable(t)
	s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userName": "bob"}).unavailable(t)
	s.post(t, "/api/drops/create", newDrop()).unavailable(t)
	s.post(t, "/api/users", fields{"username": "bob"}).unavailable(t)
	s.get(t, fmt.Sprint("/api/users/", user+1)).unavailable(t)
	s.get(t, fmt.Sprint("/api/drops/", drop+1)).unavailable(t)
	s.get(t, fmt.Sprint("/api/reservations/", never)).unavailable(t) // it may be in the history
	s.wantStock(t, drop, 9, 0, 1)

	proxy.Restore()
	s.become(t, id, "persisted", "confirmed")
	s.ready(t, "ready").want(t, 200).has(t, fields{"status": "ready"})
}

// ready is what /readyz says once it says this: it passes on for a moment what it
// found.
func (s *server) ready(t *testing.T, status string) (r reply) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, func() error {
		if r = s.get(t, "/readyz"); r.body["status"] != status {
			return fmt.Errorf("status %v, want %s", r.body["status"], status)
		}
		return nil
	})
	return r
}

// TestReadyzWithARedisThatTakesNoWrites has no replica follow a primary that wants one:
// it answers, and sells nothing.
func TestReadyzWithARedisThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	own := harness.Own(t, harness.OwnOptions{})
	s := startServer(t, &own.Env)
	drop, ada := s.drop(t, nil), s.user(t, "ada")
	want := func(replicas string) {
		t.Helper()
		must(t, own.Redis().ConfigSet(t.Context(), "min-replicas-to-write", replicas).Err())
	}
	want("1")
	s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": ada}).want(t, 503)
	if r := s.ready(t, "unavailable"); r.status != 503 || r.body["redis"].(map[string]any)["state"] != "refuses writes" {
		t.Errorf("readyz: %d %s", r.status, r.raw)
	}
	want("0")
	s.ready(t, "ready").want(t, 200)
	s.hold(t, drop, ada)
}
