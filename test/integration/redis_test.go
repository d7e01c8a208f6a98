package integration

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// TestRedisIsKilledDuringASale first has Redis forget its scripts, again and
// again, then kills it and starts it on its append-only file.
func TestRedisIsKilledDuringASale(t *testing.T) {
	t.Parallel()
	const stock = 100_000
	own := harness.Own(t, harness.OwnOptions{})
	d := deploymentOn(t, &own.Env)
	s := newShop(t, d.serve(t), d.serve(t))
	id := s.open(stock, nil)
	tr := buy(s, id, d.people(t, 50), 8)

	for range 10 {
		tr.sellMore(20, 20*time.Second)
		if err := d.redis.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	tr.sellMore(20, 20*time.Second)
	if n := tr.gaps.Load(); n > 0 {
		t.Errorf("%d calls refused after SCRIPT FLUSH", n)
	}

	own.KillRedis()
	harness.Eventually(t, 10*time.Second, func() error {
		if a := s.call("GET", "/readyz", nil, nil); a.status != http.StatusServiceUnavailable {
			t.Errorf("readyz without Redis: %v", a)
		}
		if tr.gaps.Load() < 20 {
			return errors.New("no call noticed that Redis is away")
		}
		return nil
	})
	own.StartRedis()
	tr.sellMore(100, 20*time.Second)
	tr.stop()
	t.Logf("%d sold, %d calls refused for now", tr.sold(), tr.gaps.Load())
	tr.kept()
	tr.arrived(d, stock)
}

// TestLostReplies has the connection to Redis break after a script ran.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	proxy := harness.NewProxy(t, d.redisURL)
	broken := *d
	broken.redisURL = proxy.URL()
	s := newShop(t, broken.serve(t, "--roles", "api"))
	people := d.people(t, 3)
	// Once without trouble, so that Redis has the scripts: a lost answer that
	// it lacks one would be no loss.
	other := s.open(2, nil)
	s.mustBuy(s.mustReserve(object{"dropId": other, "userId": people[2]}).ID)
	spare := s.mustReserve(object{"dropId": other, "userId": people[2]})
	if a := s.call("POST", "/api/drops/cancel", object{"reservationId": spare.ID}, nil); a.status != http.StatusOK {
		t.Fatalf("cancel: %v", a)
	}
	id := s.open(10, object{"sizes": []object{{"size": "42", "stock": 5}, {"size": "43", "stock": 5}}})
	// Not just any script: the instance looks at its epochs too.
	change := fmt.Sprintf(":buyers:%d\r\n", id)
	ask := object{"dropId": id, "userId": people[0], "size": "42"}

	proxy.DropNextReply(change)
	if _, a := s.reserve(ask, "Idempotency-Key", "one"); !a.refusedForNow() {
		t.Fatalf("reserve with a lost reply: %v", a)
	}
	if err := s.stockIs(id, 9, 1, 0); err != nil {
		t.Fatalf("the script did not run, or more than once: %v", err)
	}
	first, a := s.reserve(ask, "Idempotency-Key", "one")
	if a.status != http.StatusCreated || !a.replayed || first.UserID != people[0] {
		t.Fatalf("repeat: %v", a)
	}
	again, a := s.reserve(ask, "Idempotency-Key", "one")
	if a.status != http.StatusCreated || again != first {
		t.Fatalf("repeat: %v, first %+v", a, first)
	}
	for _, other := range []object{
		{"dropId": id, "userId": people[1], "size": "42"},
		{"dropId": id, "userId": people[0], "size": "43"},
	} {
		if _, a := s.reserve(other, "Idempotency-Key", "one"); a.status != http.StatusUnprocessableEntity || a.code != "idempotency_conflict" {
			t.Errorf("the key with another body: %v", a)
		}
	}
	if err := s.stockIs(id, 9, 1, 0); err != nil {
		t.Error(err)
	}

	proxy.DropNextReply(change)
	if _, a := s.purchase(first.ID); !a.refusedForNow() {
		t.Fatalf("purchase with a lost reply: %v", a)
	}
	sold, a := s.purchase(first.ID)
	if a.status != http.StatusOK || sold.Purchase.ID != first.ID || sold.Purchase.UserID != people[0] {
		t.Fatalf("repeat: %v", a)
	}

	proxy.DropNextReply(change)
	ask = object{"dropId": id, "userId": people[0], "size": "43"}
	if _, a := s.reserve(ask, "Idempotency-Key", "two"); !a.refusedForNow() {
		t.Fatalf("reserve with a lost reply: %v", a)
	}
	second, a := s.reserve(ask, "Idempotency-Key", "two")
	if a.status != http.StatusCreated || !a.replayed {
		t.Fatalf("repeat: %v", a)
	}
	proxy.DropNextReply(change)
	if a := s.call("POST", "/api/drops/cancel", object{"reservationId": second.ID}, nil); !a.refusedForNow() {
		t.Fatalf("cancel with a lost reply: %v", a)
	}
	if a := s.call("POST", "/api/drops/cancel", object{"reservationId": second.ID}, nil); a.status != http.StatusOK {
		t.Fatalf("repeat: %v", a)
	}
	if err := s.stockIs(id, 9, 0, 1); err != nil {
		t.Error(err)
	}
	d.serve(t, "--roles", "writer")
	d.balanced(t)
	d.want(t, 1, "SELECT count(*) FROM purchases WHERE drop_id = $1", id)
	d.want(t, 1, "SELECT count(*) FROM reservations WHERE drop_id = $1 AND status = 'cancelled'", id)
}
