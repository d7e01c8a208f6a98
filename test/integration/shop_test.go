package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// shop calls the API of one or more instances in turn, over at most 200
// connections.
type shop struct {
	t    testing.TB
	urls []string
	next atomic.Int64
	http *http.Client
}

func newShop(t testing.TB, instances ...*harness.Process) *shop {
	t.Helper()
	transport := &http.Transport{MaxConnsPerHost: 200, MaxIdleConnsPerHost: 200}
	t.Cleanup(transport.CloseIdleConnections)
	s := &shop{t: t, http: &http.Client{Transport: transport, Timeout: time.Minute}}
	for _, p := range instances {
		s.urls = append(s.urls, p.URL)
	}
	return s
}

// answer is what one call came to.
type answer struct {
	status     int
	code       string // of an error
	retryAfter string
	replayed   bool
	body       []byte
	err        error // no answer
}

func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("%d %s", a.status, a.body)
}

// refusedForNow tells a 503 as it has to be.
func (a answer) refusedForNow() bool {
	return a.status == http.StatusServiceUnavailable && a.code == "unavailable" && a.retryAfter != ""
}

func (s *shop) call(method, path string, body, result any, header ...string) answer {
	url := s.urls[s.next.Add(1)%int64(len(s.urls))] + path
	var send io.Reader = http.NoBody
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return answer{err: err}
		}
		send = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(context.WithoutCancel(s.t.Context()), method, url, send)
	if err != nil {
		return answer{err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	harness.AsAdmin(req.Header) // which calls of buyers do not look at where identity is open
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.http.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = res.Body.Close() }()
	a := answer{
		status: res.StatusCode, retryAfter: res.Header.Get("Retry-After"),
		replayed: res.Header.Get("Idempotency-Replayed") == "true",
	}
	if a.body, a.err = io.ReadAll(res.Body); a.err != nil {
		return a
	}
	if a.status >= 400 {
		var f struct{ Code string }
		a.err = json.Unmarshal(a.body, &f)
		a.code = f.Code
	} else if result != nil {
		a.err = json.Unmarshal(a.body, result)
	}
	return a
}

// object is a JSON object.
type object map[string]any

type drop struct {
	ID        int64
	Available int `json:"available_stock"`
	Held      int
	Sold      int
	Sizes     []struct {
		Size      string
		Available int `json:"available_stock"`
		Held      int
		Sold      int
	}
	Purchases []struct {
		ID   int64
		User struct{ Username string }
	}
}

type reservation struct {
	ID        int64
	UserID    int64 `json:"UserId"`
	DropID    int64 `json:"DropId"`
	Status    string
	ExpiresAt time.Time `json:"expires_at"`
	Persisted string
}

type receipt struct {
	Message  string
	Purchase struct {
		ID          int64
		UserID      int64     `json:"UserId"`
		PurchasedAt time.Time `json:"purchased_at"`
	}
}

// open creates a drop that has started; more replaces or adds fields.
func (s *shop) open(stock int, more object) int64 {
	s.t.Helper()
	body := object{
		"name": "Air Runner", "price": 180.00, "total_stock": stock,
		"start_time": time.Now().Add(-time.Minute).UTC().Format(time.RFC3339), "hold_seconds": 300,
	}
	for k, v := range more {
		body[k] = v
	}
	var d drop
	if a := s.call("POST", "/api/drops/create", body, &d); a.status != http.StatusCreated || a.err != nil {
		s.t.Fatalf("create: %v", a)
	}
	return d.ID
}

func (s *shop) drop(id int64) (d drop) {
	s.t.Helper()
	if a := s.call("GET", fmt.Sprintf("/api/drops/%d", id), nil, &d); a.status != http.StatusOK || a.err != nil {
		s.t.Fatalf("drop %d: %v", id, a)
	}
	return d
}

// stockIs compares a drop's counts.
func (s *shop) stockIs(id int64, available, held, sold int) error {
	s.t.Helper()
	d := s.drop(id)
	if d.Available != available || d.Held != held || d.Sold != sold {
		return fmt.Errorf("drop %d has %d available, %d held, %d sold, want %d, %d, %d",
			id, d.Available, d.Held, d.Sold, available, held, sold)
	}
	return nil
}

func (s *shop) reserve(body object, header ...string) (r reservation, a answer) {
	a = s.call("POST", "/api/drops/reserve", body, &r, header...)
	return r, a
}

func (s *shop) purchase(id int64) (r receipt, a answer) {
	a = s.call("POST", "/api/drops/purchase", object{"reservationId": id}, &r)
	return r, a
}

func (s *shop) reservation(id int64) (r reservation, a answer) {
	a = s.call("GET", fmt.Sprintf("/api/reservations/%d", id), nil, &r)
	return r, a
}

// mustReserve and mustBuy are for steps that nothing stands in the way of.
func (s *shop) mustReserve(body object) reservation {
	s.t.Helper()
	r, a := s.reserve(body)
	if a.status != http.StatusCreated || a.err != nil {
		s.t.Fatalf("reserve: %v", a)
	}
	return r
}

func (s *shop) mustBuy(id int64) receipt {
	s.t.Helper()
	r, a := s.purchase(id)
	if a.status != http.StatusCreated || a.err != nil {
		s.t.Fatalf("purchase: %v", a)
	}
	return r
}

// hold holds one unit for each person and gives the reservations.
func (s *shop) hold(drop int64, people []int64) []reservation {
	s.t.Helper()
	held := make([]reservation, len(people))
	atOnce(len(people), func(i int) {
		r, a := s.reserve(object{"dropId": drop, "userId": people[i]})
		if a.status != http.StatusCreated || a.err != nil {
			s.t.Errorf("reserve: %v", a)
		}
		held[i] = r
	})
	if s.t.Failed() {
		s.t.FailNow()
	}
	return held
}

// metric is the value of a metric without labels.
func (s *shop) metric(name string) (value float64) {
	s.t.Helper()
	a := s.call("GET", "/metrics", nil, nil)
	for line := range bytes.Lines(a.body) {
		if rest, ok := bytes.CutPrefix(line, []byte(name+" ")); ok {
			if _, err := fmt.Sscan(string(rest), &value); err != nil {
				s.t.Fatalf("metric %s: %v", name, err)
			}
			return value
		}
	}
	s.t.Fatalf("no metric %s in %v", name, a)
	return 0
}

// atOnce calls do with 0 … n-1, all at the same time.
func atOnce(n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}
