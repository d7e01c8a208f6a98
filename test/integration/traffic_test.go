package integration

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// traffic buys and buys until stop is called, and remembers every promise.
type traffic struct {
	shop   *shop
	drop   int64
	people []int64

	running sync.WaitGroup
	ending  chan struct{}
	gaps    atomic.Int64 // calls that were refused for now

	mu        sync.Mutex
	held      map[int64]int64   // reservation → user; promised, not bought
	bought    map[int64]receipt // by reservation
	unknown   map[string]int64  // Idempotency-Key → user, of calls that got no promise
	uncertain map[int64]bool    // reservations whose purchase got no promise
}

// buy starts n workers: each reserves, then buys, except every fifth time, when it keeps the hold.
func buy(s *shop, drop int64, people []int64, n int) *traffic {
	tr := &traffic{
		shop: s, drop: drop, people: people, ending: make(chan struct{}),
		held: map[int64]int64{}, bought: map[int64]receipt{}, unknown: map[string]int64{}, uncertain: map[int64]bool{},
	}
	for w := range n {
		tr.running.Go(func() { tr.work(w) })
	}
	s.t.Cleanup(tr.stop)
	return tr
}

// pace is the pause of a worker between two buyers.
const pace = 10 * time.Millisecond

func (tr *traffic) work(w int) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tr.ending:
			return
		case <-tick.C:
		}
		user, key := tr.people[(w+i)%len(tr.people)], "w"+strconv.Itoa(w)+"-"+strconv.Itoa(i)
		r, a := tr.shop.reserve(object{"dropId": tr.drop, "userId": user}, "Idempotency-Key", key)
		if a.status != http.StatusCreated || a.err != nil {
			tr.mu.Lock()
			tr.unknown[key] = user
			tr.mu.Unlock()
			tr.refused("reserve", a)
			continue
		}
		tr.mu.Lock()
		tr.held[r.ID] = user
		tr.mu.Unlock()
		if i%5 == 4 {
			continue
		}
		sold, a := tr.shop.purchase(r.ID)
		tr.mu.Lock()
		if a.status == http.StatusCreated && a.err == nil {
			tr.bought[r.ID] = sold
			delete(tr.held, r.ID)
			tr.mu.Unlock()
			continue
		}
		tr.uncertain[r.ID] = true
		tr.mu.Unlock()
		tr.refused("purchase", a)
	}
}

func (tr *traffic) refused(call string, a answer) {
	tr.gaps.Add(1)
	if !a.refusedForNow() {
		tr.shop.t.Errorf("%s: %v, Retry-After %q", call, a, a.retryAfter)
	}
}

func (tr *traffic) sold() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.bought)
}

// sellMore waits until n more units are sold.
func (tr *traffic) sellMore(n int, within time.Duration) {
	tr.shop.t.Helper()
	from := tr.sold()
	harness.Eventually(tr.shop.t, within, func() error {
		if got := tr.sold() - from; got < n {
			return fmt.Errorf("%d units sold, want %d", got, n)
		}
		return nil
	})
}

// stop ends the workers and waits for them.
func (tr *traffic) stop() {
	select {
	case <-tr.ending:
	default:
		close(tr.ending)
	}
	tr.running.Wait()
}

// kept asks for everything that was promised, and settles what was left open
// by repeating it: afterwards every hold is bought.
func (tr *traffic) kept() {
	t := tr.shop.t
	t.Helper()
	for id, was := range tr.bought {
		if now, a := tr.shop.purchase(id); a.status != http.StatusOK || !sameReceipt(now, was) {
			t.Fatalf("the receipt of %d was %+v, is %v", id, was, a)
		}
	}
	for key, user := range tr.unknown {
		r, a := tr.shop.reserve(object{"dropId": tr.drop, "userId": user}, "Idempotency-Key", key)
		if a.status != http.StatusCreated {
			t.Fatalf("repeat of a reservation: %v", a)
		}
		tr.held[r.ID] = user
	}
	for id, user := range tr.held {
		if r, a := tr.shop.reservation(id); a.status != http.StatusOK || r.UserID != user ||
			r.Status != "active" && !tr.uncertain[id] {
			t.Fatalf("the hold %d of user %d is %v", id, user, a)
		}
		sold, a := tr.shop.purchase(id)
		if a.status != http.StatusCreated && (a.status != http.StatusOK || !tr.uncertain[id]) {
			t.Fatalf("purchase of hold %d: %v", id, a)
		}
		tr.bought[id] = sold
	}
	clear(tr.held)
	clear(tr.unknown)
}

func sameReceipt(a, b receipt) bool {
	return a.Purchase.ID == b.Purchase.ID && a.Purchase.UserID == b.Purchase.UserID &&
		a.Purchase.PurchasedAt.Equal(b.Purchase.PurchasedAt)
}

// arrived has Postgres agree with every promise, once the ledger is drained.
func (tr *traffic) arrived(d *deployment, stock int) {
	t := tr.shop.t
	t.Helper()
	d.balanced(t)
	want := map[int64]bool{}
	for id := range tr.bought {
		want[id] = true
	}
	sameIDs(t, "purchases", d.ids(t, "SELECT id FROM purchases WHERE drop_id = $1", tr.drop), want)
	d.want(t, len(want), "SELECT sum(sold) FROM drop_sizes WHERE drop_id = $1", tr.drop)
	d.want(t, 0, "SELECT count(*) FROM refused_purchases")
	if err := tr.shop.stockIs(tr.drop, stock-len(want), 0, len(want)); err != nil {
		t.Error(err)
	}
}
