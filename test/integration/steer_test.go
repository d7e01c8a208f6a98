package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/holdfast/holdfast/test/harness"
)

// onlooker is a client of /ws that keeps the newest counts it was told of a drop.
type onlooker struct {
	mu     sync.Mutex
	counts liveCounts
	faults []string
}

type liveCounts struct {
	ID        int64  `json:"id"`
	DropID    int64  `json:"dropId"`
	State     string `json:"state"`
	Total     int    `json:"total_stock"`
	Available int    `json:"available_stock"`
	Held      int    `json:"held"`
	Sold      int    `json:"sold"`
	Version   int64  `json:"version"`
	Sizes     []struct {
		Size      string `json:"size"`
		Stock     int    `json:"stock"`
		Available int    `json:"available_stock"`
		Held      int    `json:"held"`
		Sold      int    `json:"sold"`
	} `json:"sizes"`
}

// conserved says what of the counts does not add up.
func (c liveCounts) conserved() error {
	if c.Available+c.Held+c.Sold != c.Total || min(c.Available, c.Held, c.Sold) < 0 {
		return fmt.Errorf("%+v does not add up", c)
	}
	for _, s := range c.Sizes {
		if s.Available+s.Held+s.Sold != s.Stock || min(s.Available, s.Held, s.Sold) < 0 {
			return fmt.Errorf("%+v does not add up", c)
		}
	}
	return nil
}

// lookOn watches a drop at an instance until the test's end.
func lookOn(t *testing.T, p *harness.Process, drop int64) *onlooker {
	t.Helper()
	conn, res, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(p.URL, "http")+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	o, done := &onlooker{}, make(chan struct{})
	go func() {
		defer close(done)
		for {
			_, frame, err := conn.ReadMessage()
			if err != nil {
				return
			}
			o.take(frame, drop)
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return o
}

func (o *onlooker) take(frame []byte, drop int64) {
	var e struct {
		Event string
		Data  json.RawMessage
	}
	var all struct{ Drops []liveCounts }
	var one liveCounts
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := json.Unmarshal(frame, &e); err != nil {
		o.faults = append(o.faults, err.Error())
		return
	}
	switch e.Event {
	case "snapshot":
		_ = json.Unmarshal(e.Data, &all)
	case "stock_update", "drop_updated", "drop_created":
		_ = json.Unmarshal(e.Data, &one)
		all.Drops = []liveCounts{one}
	}
	for _, c := range all.Drops {
		if max(c.ID, c.DropID) != drop {
			continue
		}
		if err := c.conserved(); err != nil {
			o.faults = append(o.faults, err.Error())
		}
		if c.Version < o.counts.Version {
			o.faults = append(o.faults, fmt.Sprintf("version %d after %d", c.Version, o.counts.Version))
		}
		c.ID, c.DropID = drop, drop
		o.counts = c
	}
}

// is fails unless the last that was told is what the API says.
func (o *onlooker) is(want liveCounts) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.faults) > 0 {
		return fmt.Errorf("%d faults, the first: %s", len(o.faults), o.faults[0])
	}
	want.ID, want.DropID = o.counts.ID, o.counts.DropID
	if fmt.Sprint(o.counts) != fmt.Sprint(want) {
		return fmt.Errorf("told %+v, the API says %+v", o.counts, want)
	}
	return nil
}

// TestStormUnderTwoConsoles has two consoles, each at an instance of its own, change
// a drop in the middle of a storm of buyers: units are added and taken away, the drop is
// paused and resumed, and in the end it is ended. At every step nothing is lost or made up.
func TestStormUnderTwoConsoles(t *testing.T) {
	const steps, buyers, lookers = 25, 16, 10
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	d := newDeployment(t)
	instances := []*harness.Process{d.serve(t), d.serve(t)}
	s := newShop(t, instances...)
	sizes := []string{"42", "43"}
	const stock = 200
	id := s.open(2*stock, object{"hold_seconds": 1, "sizes": []object{{"size": sizes[0], "stock": stock}, {"size": sizes[1], "stock": stock}}})
	path := fmt.Sprintf("/api/drops/%d", id)
	watching := make([]*onlooker, 0, lookers)
	for i := range lookers {
		watching = append(watching, lookOn(t, instances[i%2], id))
	}

	people := d.people(t, 100)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var storm, consoles sync.WaitGroup
	var held, bought atomic.Int64
	for b := range buyers {
		r := rand.New(rand.NewPCG(seed, uint64(b)))
		storm.Go(func() {
			for ctx.Err() == nil {
				hold, a := s.reserve(object{"dropId": id, "userId": people[r.IntN(len(people))], "size": sizes[r.IntN(2)]})
				switch {
				case a.status == http.StatusCreated:
					held.Add(1)
				case a.code == "out_of_stock", a.code == "paused", a.code == "ended":
					pause := time.NewTimer(time.Duration(r.IntN(20)) * time.Millisecond)
					select {
					case <-pause.C:
					case <-ctx.Done():
						pause.Stop()
					}
					continue
				default:
					t.Errorf("reserve: %v", a)
					return
				}
				switch n := r.IntN(10); {
				case n < 2: // bought: few, so that there is something to take away for long
					if _, a := s.purchase(hold.ID); a.status == http.StatusCreated {
						bought.Add(1)
					} else if a.code != "reservation_expired" {
						t.Errorf("purchase: %v", a)
					}
				case n < 8:
					if a := s.call("POST", "/api/drops/cancel", object{"reservationId": hold.ID}, nil); a.status != http.StatusOK && a.code != "reservation_expired" {
						t.Errorf("cancel: %v", a)
					}
				} // the rest lapse
			}
		})
	}

	var added atomic.Int64
	outcomes := map[string]int{}
	var mu sync.Mutex
	for i, p := range instances {
		console := newShop(t, p)
		r := rand.New(rand.NewPCG(seed, uint64(1000+i)))
		consoles.Go(func() {
			for step := range steps {
				size, n := sizes[r.IntN(2)], int64(1+r.IntN(30))
				var body object
				switch r.IntN(5) {
				case 0, 1:
					body = object{"stock": []object{{"size": size, "add": n}}}
				case 2:
					n = -n
					body = object{"stock": []object{{"size": size, "add": n}}}
				case 3:
					body, n = object{"state": "paused"}, 0
				case 4:
					body, n = object{"state": "live"}, 0
				}
				var now liveCounts
				a := console.call("PATCH", path, body, &now, "Idempotency-Key", fmt.Sprintf("%d %d", i, step))
				switch {
				case a.status == http.StatusOK:
					added.Add(n)
				case a.code != "not_enough_available":
					t.Errorf("change %v: %v", body, a)
				}
				mu.Lock()
				outcomes[fmt.Sprintf("%d %s", a.status, a.code)]++
				mu.Unlock()
				// Conservation, at this instance and, now and then, in both stores.
				var seen liveCounts
				if a := console.call("GET", path, nil, &seen); a.status != http.StatusOK {
					t.Errorf("drop: %v", a)
				} else if err := seen.conserved(); err != nil {
					t.Error(err)
				}
				if step%6 == i { // it reads everything
					sound(t, console)
				}
			}
			if a := console.call("PATCH", path, object{"state": "live"}, nil); a.status != http.StatusOK {
				t.Errorf("resume: %v", a)
			}
		})
	}
	consoles.Wait()
	before := bought.Load()
	harness.Eventually(t, 30*time.Second, func() error { // it sells on
		if bought.Load() == before {
			if a := s.call("PATCH", path, object{"stock": []object{{"size": "42", "add": 10}}}, nil); a.status == http.StatusOK {
				added.Add(10)
			}
			return fmt.Errorf("nothing is sold any more")
		}
		return nil
	})
	if a := s.call("PATCH", path, object{"state": "ended"}, nil); a.status != http.StatusOK {
		t.Fatalf("end: %v", a)
	}
	if a := s.call("PATCH", path, object{"state": "live"}, nil); a.code != "ended" {
		t.Errorf("resume of a drop that has ended: %v", a)
	}
	stop()
	storm.Wait()
	t.Logf("held %d, bought %d, changes %v, stock changed by %d", held.Load(), bought.Load(), outcomes, added.Load())
	if held.Load() == 0 || bought.Load() == 0 || outcomes["200 "] == 0 {
		t.Error("nothing went on")
	}

	var last liveCounts
	harness.Eventually(t, 30*time.Second, func() error {
		if a := s.call("GET", path, nil, &last); a.status != http.StatusOK || last.Held > 0 {
			return fmt.Errorf("%d units are still held: %v", last.Held, a)
		}
		return nil
	})
	if last.State != "ended" || int64(last.Total) != 2*stock+added.Load() || int64(last.Sold) != bought.Load() {
		t.Errorf("%+v; want %d in all, %d sold", last, 2*stock+added.Load(), bought.Load())
	}
	for i, o := range watching {
		harness.Eventually(t, 10*time.Second, func() error {
			if err := o.is(last); err != nil {
				return fmt.Errorf("watcher %d: %w", i, err)
			}
			return nil
		})
	}
	d.balanced(t)
	d.want(t, last.Sold, "SELECT count(*) FROM purchases")
	d.want(t, 0, "SELECT count(*) FROM refused_purchases")
	d.want(t, 0, "SELECT count(*) FROM drop_changes WHERE outcome IS NULL")
	d.want(t, int(d.count(t, "SELECT count(*) FROM drop_changes WHERE outcome = 'made'")), "SELECT count(*) FROM admin_log WHERE action = 'change'")
}

// sound fails unless the audit finds nothing wrong. What is busy is judged by what holds at
// every moment.
func sound(t *testing.T, s *shop) {
	t.Helper()
	var report struct {
		Differences int
		Lines       []struct{ Problem string }
	}
	if a := s.call("GET", "/api/admin/audit", nil, &report); a.status == http.StatusServiceUnavailable {
		return // another is under way for long
	} else if a.status != http.StatusOK || a.err != nil || report.Differences > 0 {
		t.Errorf("audit: %v", a)
	}
}
