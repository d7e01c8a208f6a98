package integration

import (
	"fmt"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// TestAuditDuringASale audits while every drop changes all the time.
func TestAuditDuringASale(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	s := newShop(t, d.serve(t))
	id := s.open(100_000, nil)
	tr := buy(s, id, d.people(t, 50), 8)
	tr.sellMore(100, 20*time.Second)
	for range 3 {
		if printed, status := d.run(t, "audit"); status != 0 {
			t.Errorf("audit ends with %d:\n%s", status, printed)
		}
	}
	tr.stop()
	d.balanced(t)
}

// TestDropWhoseCreationHasNoKnownOutcome has Redis open a drop whose creator is
// told 503. Whoever finds it buys for real: the purchase reaches Postgres.
func TestDropWhoseCreationHasNoKnownOutcome(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.serve(t, "--roles", "expirer,writer")
	proxy := harness.NewProxy(t, d.redisURL)
	broken := *d
	broken.redisURL = proxy.URL()
	instance := broken.serve(t, "--roles", "api")
	s := newShop(t, instance)
	person := d.people(t, 1)[0]
	id := 1 + s.open(1, nil) // Redis has the script from here on

	proxy.DropNextReply(d.dropKey(id))
	a := s.call("POST", "/api/drops/create", object{
		"name": "Lost", "price": 1, "total_stock": 5, "start_time": "2026-01-01T00:00:00Z",
	}, nil)
	if !a.refusedForNow() {
		t.Fatalf("create with a lost reply: %v", a)
	}
	if a := s.call("GET", fmt.Sprintf("/api/drops/%d", id), nil, nil); a.code != "drop_not_found" {
		t.Errorf("the drop is shown before its creation is known: %v", a)
	}
	s.mustBuy(s.mustReserve(object{"dropId": id, "userId": person}).ID)
	d.balanced(t)
	d.want(t, 1, `SELECT count(*) FROM purchases WHERE drop_id = $1`, id)

	if status := instance.Terminate(); status != 0 {
		t.Errorf("the instance ended with %d", status)
	}
	s = newShop(t, d.serve(t, "--roles", "api"))
	if err := s.stockIs(id, 4, 0, 1); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// TestRedisLosesItsData empties Redis: the drop comes back from Postgres, what
// was sold stays sold, ids do not repeat, and a confirmed receipt is answered.
func TestRedisLosesItsData(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	instance := d.serve(t)
	s := newShop(t, instance)
	people := d.people(t, 3)
	id := s.open(10, nil)
	first := s.mustReserve(object{"dropId": id, "userId": people[0]})
	bought := s.mustBuy(first.ID)
	s.mustReserve(object{"dropId": id, "userId": people[1]})
	d.drained(t, 30*time.Second)
	instance.Terminate()

	keys, err := d.redis.Keys(t.Context(), d.prefix+":*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	if err := d.redis.Del(t.Context(), keys...).Err(); err != nil {
		t.Fatal(err)
	}
	s = newShop(t, d.serve(t))
	if err := s.stockIs(id, 9, 0, 1); err != nil {
		t.Fatal(err)
	}
	again, a := s.purchase(first.ID)
	if a.status != http.StatusOK || !sameReceipt(again, bought) {
		t.Errorf("repeated purchase: %v", a)
	}
	if fresh := s.mustReserve(object{"dropId": id, "userId": people[2]}); fresh.ID <= first.ID+1 {
		t.Errorf("id %d after %d", fresh.ID, first.ID)
	}
	d.balanced(t)
}

// TestReplaySaysHowTheHoldStands repeats a reserve after the hold has ended.
func TestReplaySaysHowTheHoldStands(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	s := newShop(t, d.serve(t))
	id, short, person := s.open(3, nil), s.open(3, object{"hold_seconds": 0.5}), d.people(t, 1)[0]
	end := map[string]func(reservation){
		"cancelled": func(r reservation) {
			s.call("POST", "/api/drops/cancel", object{"reservationId": r.ID}, nil)
		},
		"completed": func(r reservation) { s.mustBuy(r.ID) },
		"expired":   func(reservation) {},
	}
	for want, end := range end {
		ask := object{"dropId": id, "userId": person}
		if want == "expired" {
			ask["dropId"] = short
		}
		first, a := s.reserve(ask, "Idempotency-Key", want)
		if first.Status != "active" {
			t.Fatalf("reserve: %v", a)
		}
		end(first)
		harness.Eventually(t, 10*time.Second, func() error {
			again, a := s.reserve(ask, "Idempotency-Key", want)
			if a.status != http.StatusCreated || !a.replayed || again.ID != first.ID || again.Status != want {
				return fmt.Errorf("replay of a hold that is %s: %v", want, a)
			}
			return nil
		})
	}
}

// TestEndWithAFrozenStore stops dev while one of its servers does not move.
func TestEndWithAFrozenStore(t *testing.T) {
	t.Parallel()
	for i, name := range []string{"Redis", "Postgres"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := os.MkdirTemp("", "holdfast-dev-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(data) })
			if err := os.Chmod(data, 0o711); err != nil { // so that the user postgres can pass
				t.Fatal(err)
			}
			p := dev(t, data)
			pids := servers(t, p)
			s := newShop(t, p)
			s.mustBuy(s.mustReserve(object{"dropId": 1, "userId": 1}).ID)
			if err := syscall.Kill(pids[i], syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			p.Signal(syscall.SIGINT)
			p.Wait(20 * time.Second)
			gone(t, pids)

			// What was sold is there again.
			p = dev(t, data)
			if err := newShop(t, p).stockIs(1, 99, 0, 1); err != nil {
				t.Error(err)
			}
			if status := p.Terminate(); status != 0 {
				t.Errorf("dev ended with %d", status)
			}
		})
	}
}
