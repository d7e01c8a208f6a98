package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

func TestMain(m *testing.M) {
	// Each baseline makes its own tables.
	harness.Main(m, harness.Options{Migrate: func(context.Context, string) error { return nil }})
}

// shop is a running baseline.
type shop struct {
	*testing.T
	url    string
	client http.Client
}

func newShop(t *testing.T, s settings) *shop {
	t.Helper()
	s.database, s.people = harness.New(t).DatabaseURL, 1000
	s.addr = net.JoinHostPort("127.0.0.1", harness.FreePort(t))
	sh := &shop{T: t, url: "http://" + s.addr}
	sh.client.Transport = &http.Transport{MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx) }()
	t.Cleanup(func() {
		sh.client.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	harness.Eventually(t, 20*time.Second, func() error {
		res, err := sh.client.Get(sh.url + "/readyz")
		if err != nil {
			return err
		}
		return res.Body.Close()
	})
	return sh
}

// answer is any of the API's answers.
type answer struct {
	status    int
	ID        int64
	Code      string
	Available int64 `json:"available_stock"`
	Held      int64
	Sold      int64
	Purchase  struct {
		ID, DropID, UserID int64
		At                 string `json:"purchased_at"`
	}
}

func (s *shop) do(method, path, body string) (a answer) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, bytes.NewBufferString(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close(), json.Unmarshal(text, &a)); err != nil {
		s.Fatalf("%s %s: %v in %s", method, path, err, text)
	}
	a.status = res.StatusCode
	return a
}

func (s *shop) open(units int, hold float64, start string) int64 {
	s.Helper()
	a := s.do("POST", "/api/drops/create", fmt.Sprintf(`{"name":"Air","price":1.5,"total_stock":%d,"start_time":%q,"hold_seconds":%g}`, units, start, hold))
	if a.status != 201 || a.ID == 0 {
		s.Fatalf("create: %+v", a)
	}
	return a.ID
}

func (s *shop) reserve(drop int64, user int) answer {
	s.Helper()
	return s.do("POST", "/api/drops/reserve", fmt.Sprintf(`{"dropId":%d,"userId":%d}`, drop, user))
}

func (s *shop) purchase(id int64) answer {
	s.Helper()
	return s.do("POST", "/api/drops/purchase", fmt.Sprintf(`{"reservationId":%d}`, id))
}

func (s *shop) want(a answer, status int, code string) {
	s.Helper()
	if a.status != status || a.Code != code {
		s.Errorf("%+v, want %d %q", a, status, code)
	}
}

// atOnce calls f for 0 … n-1 from 64 goroutines.
func atOnce(n int, f func(i int)) {
	var all sync.WaitGroup
	for w := range 64 {
		all.Go(func() {
			for i := w; i < n; i += 64 {
				f(i)
			}
		})
	}
	all.Wait()
}

const past = "2020-01-01T00:00:00Z"

var kinds = map[string]settings{
	"rowlock":                   {kind: "rowlock"},
	"statement":                 {kind: "statement"},
	"grouped":                   {kind: "grouped", batch: 16, flights: 2},
	"grouped, single purchases": {kind: "grouped", batch: 16, flights: 2, single: true},
}

func TestEachSellsWhatItHas(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const units, tries = 100, 500
			s := newShop(t, kind)
			drop := s.open(units, 60, past)
			var mu sync.Mutex
			users := map[int64]int{} // by reservation
			atOnce(tries, func(i int) {
				a := s.reserve(drop, 1+i)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case a.status == 201 && users[a.ID] == 0:
					users[a.ID] = 1 + i
				case a.status != 400 || a.Code != "out_of_stock":
					t.Errorf("reserve: %+v", a)
				}
			})
			if len(users) != units {
				t.Fatalf("%d of %d units were held", len(users), units)
			}
			ids := make([]int64, 0, units)
			for id := range users {
				ids = append(ids, id)
			}
			var first, repeated int
			atOnce(2*units, func(i int) { // each twice, mostly at once
				a := s.purchase(ids[i/2])
				mu.Lock()
				defer mu.Unlock()
				switch a.status {
				case 201:
					first++
				case 200:
					repeated++
				}
				if p := a.Purchase; p.ID != ids[i/2] || p.DropID != drop || p.UserID != int64(users[p.ID]) || p.At == "" {
					t.Errorf("purchase %d: %+v", ids[i/2], a)
				}
			})
			if first != units || repeated != units {
				t.Errorf("%d sold and %d repeated, want %d of both", first, repeated, units)
			}
			if a := s.do("GET", fmt.Sprintf("/api/drops/%d", drop), ""); a.Available != 0 || a.Held != 0 || a.Sold != units {
				t.Errorf("%+v, want %d sold", a, units)
			}
		})
	}
}

func TestEachGivesLapsedHoldsBack(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const units = 50
			s := newShop(t, kind)
			drop := s.open(units, 0.3, past)
			ids := make([]int64, units)
			atOnce(units, func(i int) { ids[i] = s.reserve(drop, 1+i).ID })
			harness.Eventually(t, 20*time.Second, func() error {
				if a := s.do("GET", fmt.Sprintf("/api/drops/%d", drop), ""); a.Available != units || a.Held != 0 {
					return fmt.Errorf("%+v", a)
				}
				return nil
			})
			s.want(s.purchase(ids[0]), 410, "reservation_expired")
		})
	}
}

func TestEachRefuses(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, kind)
			s.want(s.reserve(s.open(1, 60, "2100-01-01T00:00:00Z"), 1), 409, "not_started")
			drop := s.open(1, 60, past)
			s.want(s.reserve(drop, 1001), 404, "not_found")
			s.want(s.reserve(drop+1, 1), 404, "not_found")
			s.want(s.purchase(1<<40), 404, "not_found")
			s.want(s.do("POST", "/api/drops/reserve", fmt.Sprintf(`{"dropId":%d,"userId":1,"more":1}`, drop)), 400, "invalid_request")
			s.want(s.do("POST", "/api/drops/reserve", `{"dropId":1} {}`), 400, "invalid_request")
		})
	}
}

func TestEachListsTheNewestWithTheirBuyers(t *testing.T) {
	t.Parallel()
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, kind)
			s.open(9, 60, past)
			bare, sold := s.open(9, 60, past), s.open(9, 60, past)
			for user := range 4 {
				s.purchase(s.reserve(sold, 1+user).ID)
			}
			res, err := s.client.Get(s.url + "/api/drops?limit=2")
			if err != nil {
				t.Fatal(err)
			}
			var drops []dropForm
			if err := errors.Join(json.NewDecoder(res.Body).Decode(&drops), res.Body.Close()); err != nil {
				t.Fatal(err)
			}
			if len(drops) != 2 || drops[0].ID != sold || drops[1].ID != bare || drops[0].Available != 5 {
				t.Fatalf("%+v", drops)
			}
			if p := drops[0].Purchases; len(p) != 3 || p[0].User.Username != "person 4" || len(drops[1].Purchases) != 0 {
				t.Errorf("%+v", drops)
			}
		})
	}
}

type dropForm struct {
	ID        int64
	Available int64 `json:"available_stock"`
	Purchases []purchaseItem
}
