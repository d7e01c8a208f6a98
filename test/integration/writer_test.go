package integration

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/test/harness"
)

// known has the instance learn of the people, so that it need not ask
// Postgres for them later.
func (s *shop) known(people []int64) {
	s.t.Helper()
	for _, id := range people {
		if a := s.call("GET", fmt.Sprintf("/api/users/%d", id), nil, nil); a.status != http.StatusOK {
			s.t.Fatalf("user %d: %v", id, a)
		}
	}
}

func TestPostgresIsAwayForTenSeconds(t *testing.T) {
	t.Parallel()
	const stock = 100_000
	own := harness.Own(t, harness.OwnOptions{})
	d := deploymentOn(t, &own.Env)
	p := d.serve(t)
	s := newShop(t, p)
	people := d.people(t, 50)
	s.known(people)
	id := s.open(stock, nil)
	s.drop(id)

	tr := buy(s, id, people, 4)
	tr.sellMore(100, 20*time.Second)
	own.StopPostgres()
	stopped, before := time.Now(), tr.sold()
	harness.Eventually(t, 20*time.Second, func() error {
		var ready struct {
			Status          string
			Redis, Postgres struct{ State string }
		}
		if a := s.call("GET", "/readyz", nil, &ready); a.status != http.StatusOK || ready.Status != "degraded" || ready.Redis.State != "ok" {
			t.Fatalf("readyz: %v", a)
		}
		if d := s.drop(id); d.ID != id { // browsing goes on too
			t.Fatalf("drop %d: %+v", id, d)
		}
		if away := time.Since(stopped); away < 10*time.Second {
			return fmt.Errorf("away for %v", away)
		}
		return nil
	})
	during := tr.sold() - before
	if n, err := d.waiting(t.Context()); err != nil || n == 0 {
		t.Errorf("%d ledger entries wait, %v", n, err)
	}
	own.StartPostgres()
	tr.sellMore(100, 20*time.Second)
	tr.stop()
	t.Logf("%d sold, %d of them without Postgres", tr.sold(), during)
	if n := tr.gaps.Load(); n > 0 || during < 100 {
		t.Errorf("%d calls refused and %d units sold while Postgres was away", n, during)
	}
	tr.kept()
	tr.arrived(d, stock)
	log := p.Log()
	if strings.Count(log, "a server can not be reached") != 1 || strings.Count(log, "a server is reached again") != 1 {
		t.Error("the outage is not told of once, with its end")
	}
}

// TestWriterIsKilledAgainAndAgain kills writers at random moments of a sale.
func TestWriterIsKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	const stock, rounds = 100_000, 8
	d := newDeployment(t)
	s := newShop(t, d.serve(t, "--roles", "api,expirer"))
	id := s.open(stock, nil)
	tr := buy(s, id, d.people(t, 50), 4)
	abandoned := int64(0)
	for range rounds {
		w := d.serve(t, "--roles", "writer", "--takeover", "3s")
		at := time.Now().Add(time.Duration(rand.IntN(300)) * time.Millisecond)
		harness.Eventually(t, 5*time.Second, func() error {
			if wait := time.Until(at); wait > 0 {
				return fmt.Errorf("%v left", wait)
			}
			return nil
		})
		w.Kill()
		abandoned = max(abandoned, d.abandoned(t))
	}
	tr.stop()
	t.Logf("%d sold; killed writers had up to %d entries in hand", tr.sold(), abandoned)
	tr.kept()
	d.serve(t, "--roles", "writer", "--takeover", "3s")
	tr.arrived(d, stock)
}

// abandoned is how many ledger entries were given to a writer and are not done.
func (d *deployment) abandoned(t testing.TB) (n int64) {
	t.Helper()
	for p := range partitions {
		pending, err := d.redis.XPending(t.Context(), d.key(p, "ledger"), "persist").Result()
		if err != nil && !strings.HasPrefix(err.Error(), "NOGROUP") {
			t.Fatal(err)
		}
		if pending != nil {
			n += pending.Count
		}
	}
	return n
}

// TestWriterIsKilledBetweenCommitAndAck has Redis hold back the writer's
// acknowledgement until the writer is dead.
func TestWriterIsKilledBetweenCommitAndAck(t *testing.T) {
	t.Parallel()
	const n = 20
	own := harness.Own(t, harness.OwnOptions{})
	d := deploymentOn(t, &own.Env)
	s := newShop(t, d.serve(t, "--roles", "api,expirer"))
	w := d.serve(t, "--roles", "writer")
	id := s.open(n, nil)
	held := s.hold(id, d.people(t, n))

	tx, err := d.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE purchases IN SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	for _, r := range held {
		s.mustBuy(r.ID)
	}
	harness.Eventually(t, 10*time.Second, func() error { // a batch is before the lock
		if d.count(t, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'purchases'::regclass") == 0 {
			return fmt.Errorf("no transaction waits")
		}
		return nil
	})
	if err := d.redis.Do(t.Context(), "CLIENT", "PAUSE", 20_000, "WRITE").Err(); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 3*time.Second, func() error {
		if d.count(t, "SELECT count(*) FROM purchases") == 0 {
			return fmt.Errorf("nothing is committed yet")
		}
		return nil
	})
	w.Kill()
	if err := d.redis.Do(t.Context(), "CLIENT", "UNPAUSE").Err(); err != nil {
		t.Fatal(err)
	}
	committed := d.count(t, "SELECT count(*) FROM purchases")
	waiting, err := d.waiting(t.Context())
	t.Logf("%d purchases committed, %d ledger entries not acknowledged", committed, waiting)
	if err != nil || waiting < committed || d.abandoned(t) == 0 {
		t.Fatalf("the writer had acknowledged: %d entries left, %v", waiting, err)
	}
	next := newShop(t, d.serve(t, "--roles", "writer", "--takeover", "3s"))
	d.balanced(t)
	d.want(t, n, "SELECT count(*) FROM purchases")
	d.want(t, n, "SELECT sum(sold) FROM drop_sizes")
	d.want(t, 0, "SELECT count(*) FROM refused_purchases")
	if dead := next.metric("holdfast_writer_dead_letters_total"); dead != 0 {
		t.Errorf("%v dead letters", dead)
	}
}

func TestUndecodableEntriesBecomeDeadLetters(t *testing.T) {
	t.Parallel()
	const n = 20
	d := newDeployment(t)
	s := newShop(t, d.serve(t, "--roles", "api,expirer"))
	id := s.open(n, nil)
	people := d.people(t, n)
	ledger := d.key(int(id%partitions), "ledger")
	for i, r := range s.hold(id, people) {
		s.mustBuy(r.ID)
		if i%10 == 5 { // between the good ones
			garbage := []string{"1", "nonsense", "2", fmt.Sprintf("%d:q:%d:1:1:1:1:", time.Now().UnixMilli(), id)}
			if err := d.redis.XAdd(t.Context(), &redis.XAddArgs{Stream: ledger, Values: garbage}).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := d.serve(t, "--roles", "writer")
	d.balanced(t)
	d.want(t, n, "SELECT count(*) FROM purchases")
	dead, err := d.redis.XRange(t.Context(), d.key(int(id%partitions), "dead"), "-", "+").Result()
	if err != nil || len(dead) != 4 || dead[0].Values["record"] != "nonsense" {
		t.Errorf("dead letters %v, %v", dead, err)
	}
	if got := newShop(t, p).metric("holdfast_writer_dead_letters_total"); got != 4 {
		t.Errorf("the metric counts %v dead letters", got)
	}
	if strings.Count(p.Log(), "level=ERROR") != 4 || !strings.Contains(p.Log(), "record=nonsense") {
		t.Error("the log does not name the dead letters")
	}
}

// TestRefusedPurchasesAreKept takes units away in Postgres alone while a drop
// is open: Redis sells more than Postgres allows.
func TestRefusedPurchasesAreKept(t *testing.T) {
	t.Parallel()
	const n, allowed = 20, 15
	d := newDeployment(t)
	s := newShop(t, d.serve(t, "--roles", "api,expirer"))
	short, other := s.open(n, nil), s.open(n, object{"name": "Court Classic"})
	people := d.people(t, n)
	for _, id := range []int64{short, other} {
		for _, r := range s.hold(id, people) {
			s.mustBuy(r.ID)
		}
	}
	total := func(units int) {
		t.Helper()
		if _, err := d.db.Exec(t.Context(), "UPDATE drop_sizes SET total_stock = $1 WHERE drop_id = $2", units, short); err != nil {
			t.Fatal(err)
		}
	}
	total(allowed)
	p := d.serve(t, "--roles", "writer")
	d.drained(t, 30*time.Second)
	d.want(t, allowed, "SELECT count(*) FROM purchases WHERE drop_id = $1", short)
	d.want(t, n, "SELECT count(*) FROM purchases WHERE drop_id = $1", other)
	d.want(t, n-allowed, "SELECT count(*) FROM refused_purchases WHERE drop_id = $1", short)
	d.want(t, n-allowed, "SELECT count(*) FROM reservations WHERE status = 'refused'")
	if got := newShop(t, p).metric("holdfast_writer_refused_purchases_total"); got != n-allowed {
		t.Errorf("the metric counts %v refused purchases", got)
	}
	log := p.Log()
	for id := range d.ids(t, "SELECT id FROM refused_purchases") {
		if !strings.Contains(log, fmt.Sprintf("reservation=%d", id)) {
			t.Errorf("the log does not name the refused purchase %d", id)
		}
	}
	for _, units := range []int{allowed, n} { // as it is, and with the units given back
		total(units)
		printed, status := d.run(t, "audit")
		if status != 1 || !strings.Contains(printed, "Postgres refused purchases") || !strings.Contains(printed, "1 of 2 lines differ") ||
			strings.Contains(printed, "totals differ") != (units == allowed) {
			t.Errorf("audit ends with %d:\n%s", status, printed)
		}
	}
}
