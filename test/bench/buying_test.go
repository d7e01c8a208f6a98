package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/holdfast/holdfast/cmd/load"
	"github.com/holdfast/holdfast/test/harness"
)

// plenty is more units than a phase can sell.
const plenty = 16_000_000

// warmUp precedes each turn: connections, caches and pools.
const warmUp = 300 * time.Millisecond

// shopper drives one contender and keeps what it was told.
type shopper struct {
	*stage
	c    *contender
	drop int64
	// before is what the drop said at first.
	before dropState
	// ids are the reservations that were given, by worker.
	ids [][]int64
	won int64 // steps
}

// shop opens a drop at the contender's and gives who shops there.
func (s *stage) shop(c *contender, workers int, units int64) *shopper {
	s.Helper()
	return &shopper{stage: s, c: c, drop: s.open(c, units, time.Hour), ids: make([][]int64, workers)}
}

// shopAt gives who shops at a drop that has a history.
func (s *stage) shopAt(c *contender, drop int64, workers int) *shopper {
	s.Helper()
	shop := &shopper{stage: s, c: c, drop: drop, ids: make([][]int64, workers)}
	shop.before = shop.state()
	return shop
}

// dropState is what a drop says of itself.
type dropState struct {
	Total     int64 `json:"total_stock"`
	Available int64 `json:"available_stock"`
	Held      int64 `json:"held"`
	Sold      int64 `json:"sold"`
}

func (s *shopper) state() (d dropState) {
	s.Helper()
	check(s.B, json.Unmarshal(s.get(fmt.Sprintf("%s/api/drops/%d", s.c.process.URL, s.drop)), &d))
	return d
}

// open creates a drop.
func (s *stage) open(c *contender, units int64, hold time.Duration) int64 {
	s.Helper()
	var drop struct{ ID int64 }
	s.post(c.process.URL+"/api/drops/create", fmt.Sprintf(
		`{"name":"Air Runner '26","price":179.5,"total_stock":%d,"start_time":"2020-01-01T00:00:00Z","hold_seconds":%g}`, units, hold.Seconds()), &drop)
	return drop.ID
}

func (s *stage) post(url, body string, answer any) {
	s.Helper()
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	req.SetRequestURI(url)
	req.Header.SetMethod("POST")
	req.Header.SetContentType("application/json")
	req.Header.Set("Authorization", "Bearer "+harness.AdminToken)
	req.SetBodyString(body)
	if err := fasthttp.Do(req, res); err != nil {
		s.Fatal(err)
	}
	if err := json.Unmarshal(res.Body(), answer); err != nil || res.StatusCode() != fasthttp.StatusCreated {
		s.Fatalf("%s: %d %s", url, res.StatusCode(), res.Body())
	}
}

func (s *stage) get(url string) []byte {
	s.Helper()
	status, body, err := fasthttp.Get(nil, url)
	if err != nil || status != fasthttp.StatusOK {
		s.Fatalf("%s: %d %v", url, status, err)
	}
	return body
}

func (s *shopper) call(method, path string) *load.Call {
	s.Helper()
	c, err := load.NewCall(path, method, s.c.process.URL, path)
	if err != nil {
		s.Fatal(err)
	}
	return c
}

// run has all workers do the step, and adds up what they won.
func (s *shopper) run(cfg load.Config, step load.Step) *load.Result {
	s.Helper()
	cfg.URL, cfg.Workers, cfg.Step = s.c.process.URL, len(s.ids), step
	r, err := load.Run(s.Context(), cfg)
	if err != nil {
		s.Fatal(err)
	}
	if failed := r.Sum("", load.Failed).Count; failed > 0 || r.Dropped > 0 {
		s.Errorf("%s: %d steps failed and %d were dropped: %s", s.c.name, failed, r.Dropped, outcomes(r))
	}
	s.won += r.Sum("", load.Won).Count
	return r
}

// outcomes lists how often each came.
func outcomes(r *load.Result) string {
	var b bytes.Buffer
	for _, t := range r.Tallies {
		fmt.Fprintf(&b, "%s %s %s: %d; ", t.Call, t.Outcome.Kind, t.Outcome.Code, t.Count)
	}
	return b.String()
}

// reserve is a step that reserves one unit.
func (s *shopper) reserve() load.Step {
	call, bodies := s.call("POST", "/api/drops/reserve"), s.bodies()
	return func(w *load.Worker) load.Outcome {
		a := w.Do(call, bodies[w.N])
		if a.Kind == load.Won {
			s.ids[w.N] = append(s.ids[w.N], idIn(a.Body))
		}
		return a.Outcome
	}
}

// checkout is a step that reserves one unit and purchases it.
func (s *shopper) checkout() load.Step {
	reserve, purchase, bodies := s.call("POST", "/api/drops/reserve"), s.call("POST", "/api/drops/purchase"), s.bodies()
	purchases := make([][]byte, len(bodies))
	return func(w *load.Worker) load.Outcome {
		a := w.Do(reserve, bodies[w.N])
		if a.Kind != load.Won {
			return a.Outcome
		}
		id := idIn(a.Body)
		s.ids[w.N] = append(s.ids[w.N], id)
		purchases[w.N] = strconv.AppendInt(append(purchases[w.N][:0], `{"reservationId":`...), id, 10)
		purchases[w.N] = append(purchases[w.N], '}')
		a = w.Do(purchase, purchases[w.N])
		if a.Kind == load.Won && idIn(a.Body) != id {
			return load.Outcome{Kind: load.Failed, Code: "another's receipt"}
		}
		return a.Outcome
	}
}

// bodies of a reserve, by worker.
func (s *shopper) bodies() [][]byte {
	b := make([][]byte, len(s.ids))
	for i := range b {
		b[i] = fmt.Appendf(nil, `{"dropId":%d,"userId":%d}`, s.drop, 1+i%inhabitants)
	}
	return b
}

// idIn is the first "id" of an answer, 0 without one.
func idIn(body []byte) (id int64) {
	const name = `"id":`
	at := bytes.Index(body, []byte(name))
	if at < 0 {
		return 0
	}
	for _, digit := range body[at+len(name):] {
		if digit < '0' || digit > '9' {
			break
		}
		id = 10*id + int64(digit-'0')
	}
	return id
}

// allWon fails where anything but a success came of a run.
func (s *shopper) allWon(r *load.Result) {
	s.Helper()
	if refused := r.Sum("", load.Refused).Count; refused > 0 {
		s.Errorf("%s: refused though there was stock: %s", s.c.name, outcomes(r))
	}
}

// right checks what the drop says after so many were held and sold, and that no
// reservation was given twice.
func (s *shopper) right(held, sold int64) {
	s.Helper()
	if s.c.constant {
		return
	}
	d := s.state()
	held, sold = held+s.before.Held, sold+s.before.Sold
	if d.Held != held || d.Sold != sold || d.Available+held+sold != d.Total {
		s.Errorf("%s: %d were held and %d sold, but the drop says %+v", s.c.name, held, sold, d)
	}
	all := slices.Concat(s.ids...)
	slices.Sort(all)
	given := len(all)
	if all = slices.Compact(all); len(all) != given || int64(given) != s.won || given > 0 && all[0] < 1 {
		s.Errorf("%s: %d won with %d reservations, of which %d are different", s.c.name, s.won, given, len(all))
	}
}

// finish settles and audits the contenders.
func (s *stage) finish(all ...*contender) {
	s.Helper()
	for _, c := range all {
		if c.audit != nil {
			c.audit()
		}
	}
}

// rest waits until what the turn left to do is done.
func (c *contender) rest() {
	if c.settle != nil {
		c.settle()
	}
}
