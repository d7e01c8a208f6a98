package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/holdfast/holdfast/test/harness"
)

// watching is a client of /ws that reads all it is told and holds it against
// what docs/LIVE.md promises.
type watching struct {
	t    *testing.T
	conn *websocket.Conn
	done chan struct{} // closed when the connection has ended

	mu     sync.Mutex
	events []event
	drops  map[int64]stock // as last told
	sold   map[int64]int64 // purchases told of, one by one or counted
	ended  error
}

type event struct {
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// stock is what frames about a drop have in common.
type stock struct {
	ID         int64  `json:"id"`
	DropID     int64  `json:"dropId"`
	State      string `json:"state"`
	Total      int64  `json:"total_stock"`
	Available  int64  `json:"available_stock"`
	Held       int64  `json:"held"`
	Sold       int64  `json:"sold"`
	Version    int64  `json:"version"`
	Reason     string `json:"reason"`
	ServerTime string `json:"server_time"`
	Sizes      []struct {
		Size      string `json:"size"`
		Stock     int64  `json:"stock"`
		Available int64  `json:"available_stock"`
		Held      int64  `json:"held"`
		Sold      int64  `json:"sold"`
	} `json:"sizes"`
}

// dial opens a WebSocket of /ws without reading from it, and gives the
// handshake's answer, where there was one.
func (s *server) dial(t *testing.T, query string, header http.Header, options ...func(*websocket.Dialer)) (*websocket.Conn, reply, error) {
	t.Helper()
	return s.dialAt(t, "/ws"+query, header, options...)
}

func (s *server) dialAt(t *testing.T, path string, header http.Header, options ...func(*websocket.Dialer)) (*websocket.Conn, reply, error) {
	t.Helper()
	d := &websocket.Dialer{HandshakeTimeout: 10 * time.Second}
	for _, option := range options {
		option(d)
	}
	conn, res, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(s.url, "http")+path, header)
	var r reply
	if res != nil {
		r.status, r.header = res.StatusCode, res.Header
		_ = res.Body.Close() // the library has read what there is
	}
	if err == nil {
		t.Cleanup(func() { _ = conn.Close() })
	}
	return conn, r, err
}

// watch connects and waits for the snapshot.
func (s *server) watch(t *testing.T, query string) *watching {
	t.Helper()
	conn, _, err := s.dial(t, query, nil)
	must(t, err)
	w := &watching{t: t, conn: conn, done: make(chan struct{}), drops: map[int64]stock{}, sold: map[int64]int64{}}
	go func() {
		defer close(w.done)
		for {
			_, frame, err := conn.ReadMessage()
			if err != nil {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.ended = err
				return
			}
			w.take(frame)
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-w.done })
	w.until(func() bool { return len(w.events) > 0 })
	if first := w.all()[0]; first.Event != "snapshot" {
		t.Errorf("it begins with %+v", first)
	}
	return w
}

func (w *watching) take(frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var e event
	if err := json.Unmarshal(frame, &e); err != nil || len(e.Data) == 0 {
		w.t.Errorf("frame %q: %v", frame, err)
		return
	}
	w.events = append(w.events, e)
	switch e.Event {
	case "snapshot":
		var all struct{ Drops []stock }
		if err := json.Unmarshal(e.Data, &all); err != nil {
			w.t.Errorf("%s: %v", e.Data, err)
		}
		clear(w.drops) // it replaces all that was known
		for _, s := range all.Drops {
			w.note(s)
		}
	case "stock_update", "drop_created", "drop_updated":
		var s stock
		if err := json.Unmarshal(e.Data, &s); err != nil {
			w.t.Errorf("%s: %v", e.Data, err)
		}
		w.note(s)
	case "purchase_complete":
		var p struct{ DropID, UserID, PurchaseID, Count, Version int64 }
		if err := json.Unmarshal(e.Data, &p); err != nil || p.Count == 0 && (p.UserID == 0 || p.PurchaseID == 0) ||
			p.Version < w.drops[p.DropID].Version {
			w.t.Errorf("%s after version %d: %v", e.Data, w.drops[p.DropID].Version, err)
		}
		w.sold[p.DropID] += max(1, p.Count)
	case "time":
		var at struct {
			ServerTime time.Time `json:"server_time"`
		}
		if err := json.Unmarshal(e.Data, &at); err != nil || time.Since(at.ServerTime).Abs() > time.Minute {
			w.t.Errorf("%s: %v", e.Data, err)
		}
	default:
		w.t.Errorf("unknown event %s", e.Event)
	}
}

// note holds a drop's counts against each other and against those before.
func (w *watching) note(s stock) {
	s.ID = max(s.ID, s.DropID)
	if s.Available+s.Held+s.Sold != s.Total && s.State != "paused" || min(s.Available, s.Held, s.Sold) < 0 {
		w.t.Errorf("conservation broken: %+v", s)
	}
	if before := w.drops[s.ID]; s.Version < before.Version {
		w.t.Errorf("drop %d: version %d after %d", s.ID, s.Version, before.Version)
	}
	w.drops[s.ID] = s
}

// named are the events of one name, oldest first. The caller holds the lock, as
// until does.
func (w *watching) named(name string) (found []event) {
	for _, e := range w.events {
		if e.Event == name {
			found = append(found, e)
		}
	}
	return found
}

// until waits until what was told satisfies the condition.
func (w *watching) until(satisfied func() bool) {
	w.t.Helper()
	harness.Eventually(w.t, 10*time.Second, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if satisfied() {
			return nil
		}
		last := w.events[max(0, len(w.events)-5):]
		return fmt.Errorf("%d events, ended: %w, the last: %s", len(w.events), w.ended, last)
	})
}

// last is what was told last of the drop.
func (w *watching) last(drop int64) stock {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.drops[drop]
}

// all is everything that was told so far.
func (w *watching) all() []event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// shows waits until the drop has these counts.
func (w *watching) shows(drop, available, held, sold int64) {
	w.t.Helper()
	w.until(func() bool {
		s := w.drops[drop]
		return s.Available == available && s.Held == held && s.Sold == sold && s.Version > 0
	})
}

// closes waits for the end of the connection and checks its code.
func (w *watching) closes(code int) {
	w.t.Helper()
	select {
	case <-w.done:
	case <-time.After(10 * time.Second):
		w.t.Fatalf("the connection was not closed with %d", code)
	}
	closed := (*websocket.CloseError)(nil)
	if !errors.As(w.ended, &closed) || closed.Code != code {
		w.t.Errorf("it ended with %v, want %d", w.ended, code)
	}
}
