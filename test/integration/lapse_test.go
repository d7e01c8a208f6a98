package integration

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// TestTenThousandHoldsLapse has them lapse while nobody sweeps, so that all
// are due in the same instant; who sweeps then is killed midway.
func TestTenThousandHoldsLapse(t *testing.T) {
	t.Parallel()
	const n = 10_000
	d := newDeployment(t)
	s := newShop(t, d.serve(t, "--roles", "api"))
	people := d.people(t, 100)
	buyers := make([]int64, n)
	for i := range buyers {
		buyers[i] = people[i%len(people)]
	}
	id := s.open(n, object{"hold_seconds": 1})
	held := s.hold(id, buyers)
	var last time.Time
	for _, r := range held {
		if r.ExpiresAt.After(last) {
			last = r.ExpiresAt
		}
	}
	harness.Eventually(t, 10*time.Second, func() error {
		if wait := time.Until(last); wait > 0 {
			return fmt.Errorf("the last hold lapses in %v", wait)
		}
		return nil
	})
	if err := s.stockIs(id, 0, n, 0); err != nil {
		t.Fatal(err)
	}

	// The replies to its releases are lost, so that it rests after each.
	slow := *d
	proxy := harness.NewProxy(t, d.redisURL)
	slow.redisURL = proxy.URL()
	ofTheDrop := d.key(int(id%partitions), "deadlines")
	proxy.DropNextReply(ofTheDrop)
	first := slow.instance(t, "--roles", "expirer")
	first.Start()
	harness.Eventually(t, 20*time.Second, func() error {
		proxy.DropNextReply(ofTheDrop)
		available, err := d.redis.HGet(t.Context(), d.dropKey(id), "a:").Int()
		if err == nil && available == 0 {
			err = errors.New("nothing is swept yet")
		}
		return err
	})
	first.Kill()
	midway := s.drop(id)
	t.Logf("killed with %d of %d units back", midway.Available, n)
	if midway.Available == n {
		t.Error("the first sweep was complete before its end")
	}
	d.serve(t, "--roles", "expirer")
	harness.Eventually(t, 20*time.Second, func() error { return s.stockIs(id, n, 0, 0) })

	records := d.ledger(t)
	for _, r := range held {
		if got := records[fmt.Sprintf("%d:%d x", id, r.ID&(1<<25-1))]; got != 1 {
			t.Fatalf("hold %d is %d times in the ledger as expired", r.ID, got)
		}
	}
	if len(records) != n {
		t.Errorf("%d different records in the ledger, want %d", len(records), n)
	}
	d.serve(t, "--roles", "writer")
	d.balanced(t)
	d.want(t, n, "SELECT count(*) FROM reservations WHERE status = 'expired'")
	d.want(t, n, "SELECT count(*) FROM reservations")
	inHistory := d.ids(t, "SELECT id FROM reservations")
	for _, r := range held {
		if !inHistory[r.ID] {
			t.Fatalf("hold %d is not in the history", r.ID)
		}
	}
	if err := s.stockIs(id, n, 0, 0); err != nil {
		t.Error(err)
	}
}

// TestPurchasesRaceTheDeadline sends a purchase for each hold shortly before
// or after its deadline, to two instances that sweep too. A machine that is too
// busy to be early for one of them races again, with longer holds.
func TestPurchasesRaceTheDeadline(t *testing.T) {
	t.Parallel()
	const n = 600
	d := newDeployment(t)
	s := newShop(t, d.serve(t), d.serve(t))
	people := d.people(t, n)
	allSold, allReturned := map[int64]bool{}, map[int64]bool{}
	raced := false
	for hold := 3 * time.Second; !raced && hold < time.Minute; hold *= 2 {
		id := s.open(n, object{"hold_seconds": hold.Seconds(), "limit_per_customer": 1})
		sold, returned := s.raceDeadline(s.hold(id, people), hold/12)
		t.Logf("holds of %v: %d sold, %d returned", hold, len(sold), len(returned))
		if len(sold)+len(returned) != n {
			t.Errorf("%d sold + %d returned, want %d", len(sold), len(returned), n)
		}
		harness.Eventually(t, 20*time.Second, func() error { return s.stockIs(id, len(returned), 0, len(sold)) })
		maps.Copy(allSold, sold)
		maps.Copy(allReturned, returned)
		raced = len(sold) > 0 && len(returned) > 0
	}
	if !raced {
		t.Error("never were some purchases early and some late")
	}
	d.balanced(t)
	sameIDs(t, "purchases", d.ids(t, "SELECT id FROM purchases"), allSold)
	sameIDs(t, "expired reservations", d.ids(t, "SELECT id FROM reservations WHERE status = 'expired'"), allReturned)
	for id := range allSold { // the answer stands
		if r, a := s.purchase(id); a.status != http.StatusOK || r.Purchase.ID != id {
			t.Fatalf("repeat: %v", a)
		}
	}
}

// raceDeadline sends a purchase for each hold between early before its deadline
// and a fifth of that after it, and returns the ids of those that were sold and
// of those that were late.
func (s *shop) raceDeadline(held []reservation, early time.Duration) (sold, returned map[int64]bool) {
	var mu sync.Mutex
	sold, returned = map[int64]bool{}, map[int64]bool{}
	atOnce(len(held), func(i int) {
		// More are early than late, as calls queue on a busy machine.
		spread := time.Duration(i) * early * 6 / 5 / time.Duration(len(held))
		at := time.NewTimer(time.Until(held[i].ExpiresAt) - early + spread)
		defer at.Stop()
		<-at.C
		r, a := s.purchase(held[i].ID)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case a.status == http.StatusCreated && r.Purchase.ID == held[i].ID:
			sold[held[i].ID] = true
		case a.status == http.StatusGone && a.code == "reservation_expired":
			returned[held[i].ID] = true
		default:
			s.t.Errorf("purchase: %v", a)
		}
	})
	return sold, returned
}

// sameIDs compares what Postgres has with what the API promised.
func sameIDs(t testing.TB, what string, got, want map[int64]bool) {
	t.Helper()
	var missing, extra int
	for id := range want {
		if !got[id] {
			missing++
		}
	}
	for id := range got {
		if !want[id] {
			extra++
		}
	}
	if missing+extra > 0 {
		t.Errorf("%s: %d in Postgres, %d of those promised are missing, %d were not promised", what, len(got), missing, extra)
	}
}
