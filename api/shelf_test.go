package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// stale is how old an answer may be when no event tells of a change.
const stale = time.Second

// have gets a path as who has answers with these tags.
func (s *server) have(t *testing.T, path string, tags ...string) reply {
	t.Helper()
	return s.do(t, http.MethodGet, path, "", http.Header{"If-None-Match": tags})
}

// unmodified fails unless the answer is a whole 304.
func (r reply) unmodified(t *testing.T, tag string) {
	t.Helper()
	if r.status != 304 || len(r.raw) > 0 || r.header.Get("ETag") != tag || r.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("answer %d %q with %v, want 304 with the ETag %s", r.status, r.raw, r.header, tag)
	}
}

// readings are how often GETs of drops have asked a store, and were encoded anew.
type readings struct{ redis, postgres, rendered int }

func (s *server) readings(t *testing.T, before readings) readings {
	t.Helper()
	of := func(name string) int { return int(s.metric(t, name)) }
	return readings{
		of(`holdfast_drop_readings_total{store="redis"}`) - before.redis,
		of(`holdfast_drop_readings_total{store="postgres"}`) - before.postgres,
		of("holdfast_drop_renderings_total") - before.rendered,
	}
}

func TestETag(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop := s.drop(t, nil)
	for _, path := range []string{"/api/drops", fmt.Sprint("/api/drops/", drop)} {
		first := s.get(t, path).want(t, 200)
		tag := first.header.Get("ETag")
		if first.header.Get("Cache-Control") != "no-cache" || !regexp.MustCompile(`^"[0-9a-f]{16}"$`).MatchString(tag) {
			t.Fatalf("headers %v", first.header)
		}
		for _, given := range [][]string{
			{tag}, {"W/" + tag}, {"*"}, {" * "}, {`"x", ` + tag}, {`W/"x",` + tag + `,"y"`}, {`"x"`, tag}, {`"a, b" , ` + tag}, {", " + tag},
		} {
			s.have(t, path, given...).unmodified(t, tag)
		}
		for _, given := range []string{
			`"x"`, tag[:len(tag)-1], tag[1:], tag[1 : len(tag)-1], `"` + tag, "w/" + tag, "W/ " + tag, `"` + tag[2:], `"*"`, "", `x, ` + tag,
		} {
			if r := s.have(t, path, given).want(t, 200); string(r.raw) != string(first.raw) {
				t.Errorf("If-None-Match %q changes the answer to %s", given, r.raw)
			}
		}
		if head := s.do(t, http.MethodHead, path, "", nil); head.status != 200 || head.header.Get("ETag") != tag {
			t.Errorf("HEAD is answered %d with %v", head.status, head.header)
		}
	}
	s.do(t, http.MethodGet, "/api/drops/0", "", http.Header{"If-None-Match": {"*"}}).want(t, 404)
}

// TestETagChangesWithTheContent goes through every change of a drop: another
// content has another tag, the same content the same, from another instance too.
func TestETagChangesWithTheContent(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	other := startServer(t, s.env)
	drop, user := s.drop(t, nil), s.user(t, "ada")
	contents := map[string]string{} // by tag
	var last reply
	look := func(what string) {
		t.Helper()
		for _, path := range []string{fmt.Sprint("/api/drops/", drop), "/api/drops"} {
			r := s.get(t, path).want(t, 200)
			tag := r.header.Get("ETag")
			if before, ok := contents[tag]; ok {
				t.Errorf("after %s %s has the tag of an earlier answer.\nearlier: %s\nnow:     %s", what, path, before, r.raw)
			}
			contents[tag] = string(r.raw)
			s.have(t, path, tag).unmodified(t, tag)
			last = r
		}
	}
	look("the creation")
	id := s.hold(t, drop, user)
	look("a hold")
	s.cancel(t, id).want(t, 200)
	look("a cancel")
	id = s.hold(t, drop, user)
	look("a second hold")
	s.purchase(t, id).want(t, 201)
	look("a purchase")
	s.become(t, id, "persisted", "confirmed")
	look("the buyer's name")
	s.drop(t, nil)
	if r := s.get(t, "/api/drops").want(t, 200); contents[r.header.Get("ETag")] != "" {
		t.Error("a new drop leaves the list's tag as it was")
	} else {
		last = r
	}
	harness.Eventually(t, 2*stale, func() error {
		if r := other.get(t, "/api/drops").want(t, 200); r.header.Get("ETag") != last.header.Get("ETag") {
			return fmt.Errorf("another instance has %s for %s", r.header, r.raw)
		}
		return nil
	})
}

// TestWhoChangesADropSeesIt has many buy and look at the same time: a GET after an
// answer shows what was answered, and what was answered to others before.
func TestWhoChangesADropSeesIt(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) { w.noWriter = true })
	const people, each = 8, 25
	drop := s.drop(t, fields{"total_stock": people * each})
	user := s.user(t, "ada")
	var begun, sold atomic.Int64
	counts := func(path string) (body struct{ Held, Sold int64 }) {
		r := s.get(t, path).want(t, 200)
		if path == "/api/drops" {
			must(t, json.Unmarshal(r.raw[1:len(r.raw)-1], &body))
		} else {
			must(t, json.Unmarshal(r.raw, &body))
		}
		return body
	}
	var wg sync.WaitGroup
	for person := range people {
		path := []string{"/api/drops", fmt.Sprint("/api/drops/", drop)}[person%2]
		wg.Go(func() {
			for range each {
				id := s.hold(t, drop, user)
				taken, bought := begun.Add(1), sold.Load()
				if c := counts(path); c.Held+c.Sold < taken || c.Sold < bought {
					t.Errorf("%d holds and %d purchases are known, %s shows %+v", taken, bought, path, c)
				}
				s.purchase(t, id).want(t, 201)
				bought = sold.Add(1)
				if c := counts(path); c.Sold < bought {
					t.Errorf("%d purchases are known, %s shows %+v", bought, path, c)
				}
			}
		})
	}
	wg.Wait()
	s.wantStock(t, drop, 0, 0, people*each)
}

// shownWithin fails unless every GET that is called later than stale after now
// shows what is wanted.
func (s *server) shownWithin(t *testing.T, what, path string, want func(r reply) bool) {
	t.Helper()
	changed := time.Now()
	for {
		called := time.Now()
		r := s.get(t, path)
		if want(r) {
			return
		}
		if called.Sub(changed) > stale {
			t.Fatalf("%s is not shown %v later: %d %s", what, called.Sub(changed), r.status, r.raw)
		}
	}
}

func (s *server) showsChangesOf(t *testing.T, other *server) {
	t.Helper()
	brief, drop, user := other.drop(t, fields{"hold_seconds": 2}), other.drop(t, nil), other.user(t, "ada")
	one := fmt.Sprint("/api/drops/", drop)
	s.shownWithin(t, "a new drop", "/api/drops", func(r reply) bool {
		var list []struct{ ID int64 }
		return json.Unmarshal(r.raw, &list) == nil && len(list) > 0 && list[0].ID == drop
	})
	counts := func(held, sold float64) func(reply) bool {
		return func(r reply) bool { return r.body["held"] == held && r.body["sold"] == sold }
	}
	s.shownWithin(t, "a new drop's stock", one, counts(0, 0))
	bought, cancelled := other.hold(t, drop, user), other.hold(t, drop, user)
	s.shownWithin(t, "two holds", one, counts(2, 0))
	other.purchase(t, bought).want(t, 201)
	s.shownWithin(t, "a purchase", one, counts(1, 1))
	other.cancel(t, cancelled).want(t, 200)
	s.shownWithin(t, "a cancel", one, counts(0, 1))
	other.become(t, bought, "persisted", "confirmed")
	s.shownWithin(t, "a buyer", one, func(r reply) bool {
		buyers, _ := r.body["Purchases"].([]any)
		return len(buyers) == 1
	})
	one = fmt.Sprint("/api/drops/", brief)
	lapsed := other.hold(t, brief, user)
	s.shownWithin(t, "a hold that lapses", one, counts(1, 0))
	other.become(t, lapsed, "status", "expired")
	harness.Eventually(t, 10*time.Second, func() error { // it is due, and comes back within moments
		if stock, err := other.engine.Stock(t.Context(), []int64{brief}); err != nil || stock[0].Held > 0 {
			return fmt.Errorf("%+v, %w", stock[0], err)
		}
		return nil
	})
	s.shownWithin(t, "a lapse", one, counts(0, 0))
}

func TestChangesElsewhereAreShown(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s.env).showsChangesOf(t, s)
}

// TestChangesElsewhereAreShownWithoutTheFeed has an instance whose Redis lets it
// subscribe to nothing.
func TestChangesElsewhereAreShownWithoutTheFeed(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	at, err := url.Parse(s.env.RedisURL)
	must(t, err)
	name := "deaf-" + s.env.Prefix
	redis := s.env.Redis()
	must(t, redis.Do(t.Context(), "ACL", "SETUSER", name, "reset", "on", ">secret", "~*", "+@all", "-subscribe", "-psubscribe").Err())
	t.Cleanup(func() { must(t, redis.Do(context.WithoutCancel(t.Context()), "ACL", "DELUSER", name).Err()) })
	at.User = url.UserPassword(name, "secret")
	deaf := startServer(t, s.env, func(w *wiring) { w.redisURL, w.noExpirer, w.noWriter = at.String(), true, true })
	deaf.showsChangesOf(t, s)
	if denied := redis.Do(t.Context(), "ACL", "DRYRUN", name, "SUBSCRIBE", "x").Val(); denied == "OK" {
		t.Error("the instance may subscribe")
	}
}

// TestEventsMakeChangesElsewhereShowSoon changes a drop right after it was read:
// were no event heard, each change would show half a second later.
func TestEventsMakeChangesElsewhereShowSoon(t *testing.T) {
	t.Parallel()
	other := newServer(t)
	s := startServer(t, other.env)
	const changes = 11
	drop, user := other.drop(t, fields{"total_stock": changes}), other.user(t, "ada")
	took := make([]time.Duration, changes)
	for n := range changes {
		other.hold(t, drop, user)
		held := time.Now()
		s.shownWithin(t, "a hold", fmt.Sprint("/api/drops/", drop), func(r reply) bool { return r.body["held"] == float64(n+1) })
		took[n] = time.Since(held)
	}
	if slices.Sort(took); took[changes/2] > stale/4 {
		t.Errorf("changes elsewhere are shown after %v", took)
	}
}

// TestRedisGoneIsShown has Redis go while nobody buys: what is kept in memory is
// not shown for long.
func TestRedisGoneIsShown(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	proxy := harness.NewProxy(t, env.RedisURL)
	s := startServer(t, env, func(w *wiring) { w.redisURL, w.timeout = proxy.URL(), time.Second })
	one := fmt.Sprint("/api/drops/", s.drop(t, nil))
	s.get(t, one).want(t, 200)
	s.get(t, "/api/drops").want(t, 200)
	proxy.Cut()
	gone := func(r reply) bool { return r.status == 503 }
	s.shownWithin(t, "that Redis is away", one, gone)
	s.shownWithin(t, "that Redis is away", "/api/drops", gone)
	proxy.Restore()
	harness.Eventually(t, 10*time.Second, func() error {
		if r := s.get(t, one); r.status != 200 {
			return fmt.Errorf("%d %s", r.status, r.raw)
		}
		return nil
	})
}

// TestHerdAsksOnce has many look at the same moment, when nobody has yet, and
// then after each change.
func TestHerdAsksOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop, user := s.drop(t, nil), s.user(t, "ada")
	herd := func(path string) {
		t.Helper()
		before, began := s.readings(t, readings{}), time.Now()
		var wg sync.WaitGroup
		gate := make(chan struct{})
		for range 200 {
			wg.Go(func() {
				<-gate
				s.get(t, path).want(t, 200)
			})
		}
		close(gate)
		wg.Wait()
		// One for the change, and on a slow machine one for each tick of 50 ms: the
		// event that tells of the change comes later than its answer.
		most := 2 + int(time.Since(began)/(50*time.Millisecond))
		if n := s.readings(t, before); n.redis > most || n.postgres > most || n.redis < 1 || n.rendered != 1 {
			t.Errorf("200 GETs of %s have made these: %+v, want at most %d readings and one rendering", path, n, most)
		}
	}
	for _, path := range []string{"/api/drops", fmt.Sprint("/api/drops/", drop), "/api/drops?limit=7"} {
		herd(path)
		s.hold(t, drop, user)
		herd(path)
		s.drop(t, nil)
		if path != fmt.Sprint("/api/drops/", drop) {
			herd(path)
		}
	}
}

// TestLookingIsFree has one client look again and again while nothing changes.
func TestLookingIsFree(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for range 20 {
		s.drop(t, nil)
	}
	s.get(t, "/api/drops").want(t, 200)
	before, began := s.readings(t, readings{}), time.Now()
	for range 500 {
		s.get(t, "/api/drops").want(t, 200)
	}
	// Two a second, and a few for the events of the creations.
	most := 5 + int(2*time.Since(began)/time.Second)
	if n := s.readings(t, before); n.redis > most || n.postgres > most || n.rendered > 0 {
		t.Errorf("500 GETs in %v have made these: %+v, want at most %d readings and no rendering", time.Since(began), n, most)
	}
}
