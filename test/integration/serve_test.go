package integration

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// contains has a text name all of the words.
func contains(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in:\n%s", w, text)
		}
	}
}

func TestServeReportsEveryWrongSettingAtOnce(t *testing.T) {
	t.Parallel()
	printed, status := run(t, []string{
		"HOLDFAST_REDIS_URL=http://127.0.0.1", "HOLDFAST_PREFIX={hf}", "HOLDFAST_PARTITIONS=0", "HOLDFAST_PORT=70000",
		"HOLDFAST_ROLES=api,cook", "HOLDFAST_BUYERS=-1", "HOLDFAST_MAX_CONNS=0", "HOLDFAST_DATABASE_CONNS=0",
		"HOLDFAST_TAKEOVER=1ms", "HOLDFAST_TRUSTED_PROXIES=proxy", "HOLDFAST_LIMITS_PER_USER=write=1/1,socket=1/1", "HOLDFAST_COOLDOWN=1ms",
		"HOLDFAST_CHALLENGE_URL=ftp://x", "HOLDFAST_MAX_HOLDS_PER_USER=1001", "HOLDFAST_COOLDOWN_LAPSES=1001",
	}, "serve")
	if status != 1 {
		t.Errorf("ended with %d", status)
	}
	contains(t, printed, "HOLDFAST_REDIS_URL", "HOLDFAST_DATABASE_URL", "HOLDFAST_PREFIX", "HOLDFAST_PARTITIONS",
		"HOLDFAST_PORT", "HOLDFAST_ROLES", `"cook"`, "HOLDFAST_BUYERS", "HOLDFAST_MAX_CONNS", "HOLDFAST_DATABASE_CONNS", "HOLDFAST_TAKEOVER",
		"HOLDFAST_TRUSTED_PROXIES", "HOLDFAST_LIMITS_PER_USER", "socket counts by address alone", "HOLDFAST_COOLDOWN", "HOLDFAST_CHALLENGE_URL",
		"HOLDFAST_MAX_HOLDS_PER_USER", "HOLDFAST_COOLDOWN_LAPSES")
}

func TestServeNamesRedisSettingsThatBreakPromises(t *testing.T) {
	t.Parallel()
	own := harness.Own(t, harness.OwnOptions{RedisArgs: []string{
		"--maxmemory-policy", "allkeys-lru", "--appendonly", "no", "--appendfsync", "everysec", "--notify-keyspace-events", "",
	}})
	d := deploymentOn(t, &own.Env)
	p := d.serve(t)
	for _, name := range []string{"maxmemory-policy", "appendonly", "appendfsync"} {
		named := false
		for line := range strings.Lines(p.Log()) {
			named = named || strings.Contains(line, "level=WARN") && strings.Contains(line, name)
		}
		if !named {
			t.Errorf("no warning names %s:\n%s", name, p.Log())
		}
	}
	got, err := d.redis.ConfigGet(t.Context(), "notify-keyspace-events").Result()
	if v := got["notify-keyspace-events"]; err != nil || !strings.Contains(v, "E") || !strings.Contains(v, "x") {
		t.Errorf("notifications are %q, %v", v, err)
	}
}

func TestRolesSpecialise(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	seller := d.serve(t, "--roles", "api")
	s := newShop(t, seller)
	people := d.people(t, 3)
	id := s.open(3, object{"hold_seconds": 2})
	s.mustBuy(s.mustReserve(object{"dropId": id, "userId": people[0]}).ID)
	lapses := s.mustReserve(object{"dropId": id, "userId": people[1]})

	harness.Eventually(t, 10*time.Second, func() error { // lapsed, and given back by nobody
		if r, a := s.reservation(lapses.ID); r.Status != "expired" {
			return fmt.Errorf("reservation is %v", a)
		}
		return nil
	})
	if err := s.stockIs(id, 1, 1, 1); err != nil {
		t.Error(err)
	}
	d.want(t, 0, "SELECT count(*) FROM reservations")

	for _, role := range []string{"expirer", "writer"} {
		p := d.serve(t, "--roles", role)
		if role == "expirer" {
			harness.Eventually(t, 10*time.Second, func() error { return s.stockIs(id, 2, 0, 1) })
			d.want(t, 0, "SELECT count(*) FROM reservations")
		} else {
			d.balanced(t)
			d.want(t, 2, "SELECT count(*) FROM reservations")
			d.want(t, 1, "SELECT count(*) FROM purchases")
		}
		worker := newShop(t, p)
		var ready struct{ Roles []string }
		if a := worker.call("GET", "/readyz", nil, &ready); a.err != nil || len(ready.Roles) != 1 || ready.Roles[0] != role {
			t.Errorf("readyz of the %s: %v", role, a)
		}
		if _, a := worker.reserve(object{"dropId": id, "userId": people[2]}); a.status != http.StatusNotFound {
			t.Errorf("the %s sells: %v", role, a)
		}
		if p.Terminate() != 0 {
			t.Errorf("the %s ended with %d", role, p.ExitCode())
		}
	}
}

func TestPortComesFromTheEnvironment(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	own, usual := harness.FreePort(t), harness.FreePort(t)
	for _, c := range []struct {
		env  []string
		want string
	}{
		{[]string{"PORT=" + usual}, usual},
		{[]string{"HOLDFAST_PORT=" + own}, own},
		{[]string{"PORT=" + usual, "HOLDFAST_PORT=" + own}, own},
	} {
		p := command(t, append(d.env(), c.env...), "serve")
		p.URL = "http://127.0.0.1:" + c.want
		p.Start()
		p.Ready()
		if c.want == own && len(c.env) == 1 { // while it has it
			printed, status := d.run(t, "serve", "--host", "0.0.0.0", "--port", own)
			if status != 1 {
				t.Errorf("a second instance on the port ended with %d", status)
			}
			contains(t, printed, own, "in use", "--port")
		}
		if status := p.Terminate(); status != 0 {
			t.Errorf("%v: ended with %d", c.env, status)
		}
	}
}

// TestTerminateUnderLoad has an instance end while many call it. A call that
// got no answer must not have been carried out.
func TestTerminateUnderLoad(t *testing.T) {
	t.Parallel()
	const stock, callers = 100_000, 50
	d := newDeployment(t)
	p := d.serve(t)
	s := newShop(t, p)
	people := d.people(t, callers)
	s.known(people)
	id := s.open(stock, nil)

	var mu sync.Mutex
	held, cut := map[int64]bool{}, map[string]int64{}
	answered := make(chan struct{}, 1)
	var running sync.WaitGroup
	for w := range callers {
		running.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("w%d-%d", w, i)
				r, a := s.reserve(object{"dropId": id, "userId": people[w]}, "Idempotency-Key", key)
				mu.Lock()
				switch {
				case a.err != nil: // no answer: the instance is gone
					cut[key] = people[w]
				case a.status != http.StatusCreated:
					t.Errorf("reserve: %v", a)
				default:
					held[r.ID] = true
				}
				n := len(held)
				mu.Unlock()
				if a.err != nil || n >= stock {
					return
				}
				if n > 500 {
					select {
					case answered <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	<-answered
	from := time.Now()
	status := p.Terminate()
	took := time.Since(from)
	running.Wait()
	t.Logf("%d answered, %d cut, ended within %v", len(held), len(cut), took)
	if status != 0 || took > 5*time.Second {
		t.Errorf("ended with %d after %v", status, took)
	}
	next := newShop(t, d.serve(t))
	if err := next.stockIs(id, stock-len(held), len(held), 0); err != nil {
		t.Errorf("carried out and not answered: %v", err)
	}
	for key, user := range cut {
		r, a := next.reserve(object{"dropId": id, "userId": user}, "Idempotency-Key", key)
		if a.status != http.StatusCreated {
			t.Fatalf("repeat: %v", a)
		}
		if a.replayed {
			t.Errorf("reservation %d was carried out and not answered", r.ID)
		}
	}
	d.balanced(t)
}
