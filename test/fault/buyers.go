package fault

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// market is where the buyers of one round meet: the drops, the holds that
// somebody was told of, and what is recorded.
type market struct {
	w       *world
	caller  *caller
	drops   []sale
	users   []int64
	history *history
	named   string // what begins the keys of this round

	mu      sync.Mutex
	board   []ticket
	open    []attempt // reserves of unknown outcome
	wrong   []string  // answers that no promise allows at any time
	unknown int
	changes []change // of the drop that consoles change
}

// ticket is a hold that somebody was told of.
type ticket struct {
	id, drop, user int64
	size, key      string
	deadline       int64 // Unix ms
}

// attempt is a reserve that may be repeated.
type attempt struct {
	client     int
	drop, user int64
	size, key  string
}

// pace bounds a buyer's pause between two calls.
const pace = 60 * time.Millisecond

// buyer is one person at a keyboard, or rather a few that share one.
type buyer struct {
	m     *market
	rng   *rand.Rand
	id    int
	users []int64
	mine  []ticket
	made  int
}

// run has n buyers call until stop is closed, and returns when all have gone.
func (m *market) run(seed uint64, n int, stop <-chan struct{}) {
	var running sync.WaitGroup
	for i := range n {
		b := &buyer{m: m, rng: rand.New(rand.NewPCG(seed, uint64(i)+1)), id: i}
		// Two of each buyer's own people and one that all share: limits are
		// met both by one client and by several.
		b.users = []int64{m.users[2*i%len(m.users)], m.users[(2*i+1)%len(m.users)], m.users[len(m.users)-1]}
		running.Go(func() { b.buy(stop) })
	}
	running.Wait()
}

func (b *buyer) buy(stop <-chan struct{}) {
	for {
		b.act()
		timer := time.NewTimer(time.Duration(b.rng.Int64N(int64(pace))))
		select {
		case <-stop:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// act is one thing that a buyer does.
func (b *buyer) act() {
	switch n := b.rng.IntN(100); {
	case n < 45:
		b.reserveOne()
	case n < 48:
		b.settleMine(purchase)
	case n < 60:
		b.settleMine(cancel)
	case n < 64: // somebody else's, perhaps at the same time as they
		if t, ok := b.m.pick(b.rng); ok {
			b.m.settle(b.id, b.rng, []kind{purchase, cancel, cancel}[b.rng.IntN(3)], t)
		}
	case n < 70: // the same answer again
		if t, ok := b.m.pick(b.rng); ok {
			b.m.reserve(b.id, b.rng, attempt{b.id, t.drop, t.user, t.size, t.key})
		}
	case n < 78: // on the stroke of the deadline
		b.settleAtDeadline()
	default:
		b.m.read(b.id, b.rng, b.m.drops[b.rng.IntN(len(b.m.drops))])
	}
}

func (b *buyer) reserveOne() {
	d := b.m.drops[b.rng.IntN(len(b.m.drops))]
	b.made++
	a := attempt{
		b.id, d.ID, b.users[b.rng.IntN(len(b.users))], d.Sizes[b.rng.IntN(len(d.Sizes))],
		fmt.Sprintf("%s-%d-%d", b.m.named, b.id, b.made),
	}
	for try := 0; ; try++ {
		t, result := b.m.reserve(b.id, b.rng, a)
		if result == done || result == repeated {
			b.mine = append(b.mine, t)
			return
		}
		// An answer that says nothing has most ask again, some later, some never.
		if result != unknown || try >= 4 || b.rng.IntN(4) == 0 {
			return
		}
		time.Sleep(time.Duration(b.rng.Int64N(int64(pace))))
	}
}

func (b *buyer) settleMine(k kind) {
	if len(b.mine) == 0 {
		return
	}
	i := b.rng.IntN(len(b.mine))
	t := b.mine[i]
	if result := b.m.settle(b.id, b.rng, k, t); result != unknown && b.rng.IntN(4) > 0 {
		b.mine = append(b.mine[:i], b.mine[i+1:]...) // else it is tried again
	}
}

// settleAtDeadline buys or cancels when the hold is about to lapse.
func (b *buyer) settleAtDeadline() {
	now := time.Now().UnixMilli()
	for _, t := range b.mine {
		if wait := t.deadline - now; wait > 0 && wait < 400 {
			time.Sleep(time.Duration(wait+b.rng.Int64N(16)-10) * time.Millisecond)
			b.m.settle(b.id, b.rng, []kind{purchase, cancel}[b.rng.IntN(2)], t)
			return
		}
	}
	b.reserveOne()
}

// pick is one of the newest holds that anybody was told of.
func (m *market) pick(rng *rand.Rand) (ticket, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.board) == 0 {
		return ticket{}, false
	}
	newest := min(len(m.board), 30)
	return m.board[len(m.board)-1-rng.IntN(newest)], true
}

func (m *market) url(rng *rand.Rand) string {
	return m.w.instances[rng.IntN(len(m.w.instances))].url
}

func (m *market) record(o op, a answer) {
	o.Return = time.Now().UnixNano()
	m.history.add(o)
	m.mu.Lock()
	defer m.mu.Unlock()
	if o.Result == unknown {
		m.unknown++
	}
	if a.status == http.StatusInternalServerError {
		m.wrong = append(m.wrong, fmt.Sprintf("%v: %s", o, a.body))
	}
}

// ms is a time of Redis's as Unix ms of everybody else's clock.
func (m *market) ms(t time.Time) int64 { return t.Add(-m.w.skew).UnixMilli() }

func (m *market) complain(o op, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wrong = append(m.wrong, fmt.Sprintf("%v: %v", o, err))
}

// reserve calls once and records it. An answer of "overloaded" says that
// nothing has happened and is no operation.
func (m *market) reserve(client int, rng *rand.Rand, r attempt) (ticket, string) {
	via := m.url(rng)
	o := op{Client: client, Via: via, Kind: reserve, Drop: r.drop, User: r.user, Size: r.size, Key: r.key, Call: time.Now().UnixNano()}
	body := map[string]any{"dropId": r.drop, "userId": r.user}
	if r.size != "" {
		body["size"] = r.size
	}
	a := m.caller.call(http.MethodPost, via+"/api/drops/reserve", body, r.key)
	if a.status != http.StatusCreated {
		o.Result = a.refusal()
		if o.Result != "overloaded" {
			m.record(o, a)
		}
		if o.Result == unknown {
			m.mu.Lock()
			m.open = append(m.open, r)
			m.mu.Unlock()
		}
		return ticket{}, o.Result
	}
	var got struct {
		ID        int64
		UserID    int64     `json:"UserId"`
		CreatedAt time.Time `json:"created_at"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := a.parse(&got); err != nil || got.UserID != r.user {
		m.complain(o, fmt.Errorf("answered %s: %w", a.body, err))
		return ticket{}, unknown
	}
	o.ID, o.Result, o.Deadline, o.At = got.ID, done, m.ms(got.ExpiresAt), m.ms(got.CreatedAt)
	if a.replayed {
		o.Result = repeated
	}
	m.record(o, a)
	t := ticket{got.ID, r.drop, r.user, r.size, r.key, o.Deadline}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.board = append(m.board, t)
	return t, o.Result
}

// settle buys or cancels once and records it.
func (m *market) settle(client int, rng *rand.Rand, k kind, t ticket) string {
	via := m.url(rng)
	o := op{Client: client, Via: via, Kind: k, Drop: t.drop, ID: t.id, Call: time.Now().UnixNano()}
	a := m.caller.call(http.MethodPost, via+"/api/drops/"+string(k), map[string]any{"reservationId": t.id}, "")
	switch {
	case a.status == http.StatusCreated && k == purchase, a.status == http.StatusOK:
		var got struct {
			UserID   int64     `json:"UserId"`
			EndedAt  time.Time `json:"ended_at"`
			Purchase struct {
				ID          int64
				UserID      int64     `json:"UserId"`
				PurchasedAt time.Time `json:"purchased_at"`
			}
		}
		err := a.parse(&got)
		switch {
		case k == cancel:
			o.Result, o.At = either, m.ms(got.EndedAt) // the answer does not tell a repeat
		case a.status == http.StatusOK:
			o.Result, o.At = repeated, m.ms(got.Purchase.PurchasedAt)
		default:
			o.Result, o.At = done, m.ms(got.Purchase.PurchasedAt)
		}
		if err != nil || k == purchase && (got.Purchase.ID != t.id || got.Purchase.UserID != t.user) ||
			k == cancel && got.UserID != t.user {
			m.complain(o, fmt.Errorf("answered %s: %w", a.body, err))
		}
	default:
		o.Result = a.refusal()
	}
	if o.Result != "overloaded" {
		m.record(o, a)
	}
	return o.Result
}

// read reads a drop's stock once and records it.
func (m *market) read(client int, rng *rand.Rand, d sale) {
	via := m.url(rng)
	o := op{Client: client, Via: via, Kind: stock, Drop: d.ID, Call: time.Now().UnixNano()}
	a := m.caller.call(http.MethodGet, fmt.Sprintf("%s/api/drops/%d", via, d.ID), nil, "")
	if a.status != http.StatusOK {
		return // a read that says nothing
	}
	var got struct {
		Total     int `json:"total_stock"`
		Available int `json:"available_stock"`
		Held      int
		Sold      int
		State     string
		Sizes     []struct {
			Size      string
			Stock     int
			Available int `json:"available_stock"`
			Held      int
			Sold      int
		}
	}
	if err := a.parse(&got); err != nil {
		m.complain(o, err)
		return
	}
	for _, s := range got.Sizes {
		o.Stock = append(o.Stock, pool{s.Size, s.Stock, s.Available, s.Held, s.Sold})
	}
	if len(o.Stock) == 0 {
		o.Stock = []pool{{"", got.Total, got.Available, got.Held, got.Sold}}
	}
	if got.State == "paused" {
		// Redis does not have the drop, which is shown as Postgres has it.
		o.Result = missing
		if d.Steered { // or a console has paused it
			return
		}
	} else {
		o.Result = done
	}
	m.record(o, a)
}

// clear repeats most of what has no known outcome yet, once all is well again.
func (m *market) clear(seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	m.mu.Lock()
	open := m.open
	m.mu.Unlock()
	tried := map[string]bool{}
	for _, r := range open {
		if tried[r.key] || rng.IntN(5) == 0 {
			continue
		}
		tried[r.key] = true
		for range 3 {
			if _, result := m.reserve(r.client, rng, r); result != unknown {
				break
			}
		}
	}
	for _, d := range m.drops {
		for range 2 {
			m.read(0, rng, d)
		}
	}
}
