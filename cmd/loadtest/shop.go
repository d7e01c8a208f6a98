package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// shop calls the API where nothing is measured.
type shop struct {
	base  string
	admin string // token; empty where nothing asks for it
	http  *http.Client
}

func newShop(base, admin string) *shop {
	return &shop{base: strings.TrimSuffix(base, "/"), admin: admin, http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 2},
		Timeout:   callTimeout,
	}}
}

func (s *shop) close() { s.http.CloseIdleConnections() }

// refusal is an error that the API answered.
type refusal struct {
	Status int
	Body   struct{ Error, Code, Field string }
}

// Error says what the API said.
func (r *refusal) Error() string {
	if r.Body.Error == "" {
		return fmt.Sprintf("answer %d", r.Status)
	}
	return fmt.Sprintf("%s (%d %s)", r.Body.Error, r.Status, r.Body.Code)
}

// call gives what the API answers, and by which clock: its Date header, zero
// where there is none.
func (s *shop) call(ctx context.Context, method, path string, body, into any) (at time.Time, err error) {
	var send io.Reader = http.NoBody
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return at, err
		}
		send = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, send)
	if err != nil {
		return at, err
	}
	req.Header.Set("Content-Type", "application/json")
	if s.admin != "" {
		req.Header.Set("Authorization", "Bearer "+s.admin)
	}
	res, err := s.http.Do(req)
	if err != nil {
		return at, err
	}
	defer func() { _ = res.Body.Close() }()
	const most = 16 << 20
	raw, err := io.ReadAll(io.LimitReader(res.Body, most))
	if err != nil {
		return at, err
	}
	at, _ = http.ParseTime(res.Header.Get("Date"))
	if res.StatusCode >= http.StatusBadRequest {
		r := &refusal{Status: res.StatusCode}
		_ = json.Unmarshal(raw, &r.Body) // the status says enough where it has no such body
		return at, fmt.Errorf("%s %s: %w", method, path, r)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return at, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return at, nil
}

// counts are the units of a drop, or of one size.
type counts struct {
	Available int64 `json:"available_stock"`
	Held      int64 `json:"held"`
	Sold      int64 `json:"sold"`
}

// addUp is true where they are those of so many units.
func (c counts) addUp(total int64) bool {
	return c.Available+c.Held+c.Sold == total && min(c.Available, c.Held, c.Sold) >= 0
}

// drop is a drop as the API and the live feed tell it.
type drop struct {
	ID      int64  `json:"id"`
	Name    string `json:"name"`
	Total   int64  `json:"total_stock"`
	Version int64  `json:"version"`
	counts
	Sizes []struct {
		Size  string `json:"size"`
		Stock int64  `json:"stock"`
		counts
	} `json:"sizes"`
}

// addsUp checks the drop and each of its sizes.
func (d *drop) addsUp() error {
	if !d.addUp(d.Total) {
		return fmt.Errorf("%d available + %d held + %d sold, of %d", d.Available, d.Held, d.Sold, d.Total)
	}
	var sum counts
	for _, s := range d.Sizes {
		if !s.addUp(s.Stock) {
			return fmt.Errorf("size %s: %d available + %d held + %d sold, of %d", s.Size, s.Available, s.Held, s.Sold, s.Stock)
		}
		sum.Available += s.Available
		sum.Held += s.Held
		sum.Sold += s.Sold
	}
	if len(d.Sizes) > 0 && sum != d.counts {
		return fmt.Errorf("the sizes' sum is %+v, the drop has %+v", sum, d.counts)
	}
	return nil
}

func (s *shop) drop(ctx context.Context, id int64) (d drop, err error) {
	_, err = s.call(ctx, http.MethodGet, fmt.Sprintf("/api/drops/%d", id), nil, &d)
	return d, err
}

// reservation is one as GET /api/reservations/:id tells it.
type reservation struct {
	ID     int64  `json:"id"`
	User   int64  `json:"UserId"` // 0 where it lapsed just now
	Drop   int64  `json:"DropId"`
	Status string `json:"status"`
}

func (s *shop) reservation(ctx context.Context, id int64) (r reservation, err error) {
	_, err = s.call(ctx, http.MethodGet, fmt.Sprintf("/api/reservations/%d", id), nil, &r)
	return r, err
}

// open creates a drop, which ends by itself after the test.
func (s *shop) open(ctx context.Context, stock int64, duration time.Duration) (d drop, err error) {
	// By the server's clock, as ours may differ.
	now, err := s.call(ctx, http.MethodGet, "/api/drops?limit=1", nil, &[]drop{})
	if err != nil {
		return d, err
	}
	if now.IsZero() {
		now = time.Now()
	}
	hold := ownHold(duration)
	_, err = s.call(ctx, http.MethodPost, "/api/drops/create", map[string]any{
		"name": "Load test, " + now.UTC().Format("2006-01-02 15:04:05"), "price": 1, "total_stock": stock,
		"start_time":   now.Add(-time.Hour).UTC().Format(time.RFC3339),
		"end_time":     now.Add(hold).UTC().Format(time.RFC3339),
		"hold_seconds": hold.Seconds(),
	}, &d)
	return d, err
}
