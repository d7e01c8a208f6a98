package load

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a shop of so many units, which sells to whoever asks first.
type server struct {
	*httptest.Server
	left, ids atomic.Int64
	bought    sync.Map // reservation → true
	stalled   sync.RWMutex
}

func newServer(t *testing.T, units int64) *server {
	t.Helper()
	s := &server{}
	s.left.Store(units)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /reserve", func(w http.ResponseWriter, r *http.Request) {
		s.stalled.RLock()
		defer s.stalled.RUnlock()
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != `{"dropId":7}` || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("request %q %v %v", body, r.Header, err)
		}
		if s.left.Add(-1) < 0 {
			answer(w, 400, `{"error":"Out of stock","code":"out_of_stock"}`)
			return
		}
		answer(w, 201, fmt.Sprintf(`{"id":%d}`, s.ids.Add(1)))
	})
	mux.HandleFunc("POST /purchase", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if _, twice := s.bought.LoadOrStore(string(body), true); twice || err != nil {
			t.Errorf("bought twice: %s %v", body, err)
		}
		answer(w, 201, `{"message":"Purchase successful"}`)
	})
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-r.Context().Done():
		}
		answer(w, 200, `{}`)
	})
	mux.HandleFunc("GET /broken", func(w http.ResponseWriter, _ *http.Request) { answer(w, 502, `<h1>Bad Gateway</h1>`) })
	mux.HandleFunc("GET /overloaded", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 503, `{"error":"Too busy","code":"overloaded"}`)
	})
	mux.HandleFunc("GET /hangup", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("GET /close", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		answer(w, 200, `{}`)
	})
	mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"1"`)
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		answer(w, 200, strings.Repeat("a long page ", 100_000))
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func answer(w http.ResponseWriter, status int, body string) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func (s *server) call(t *testing.T, method, path string) *Call {
	t.Helper()
	c, err := NewCall(path[1:], method, s.URL, path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustRun(t *testing.T, cfg Config) *Result {
	t.Helper()
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, tally := range r.Tallies {
		var seconds int64
		for _, n := range tally.Seconds {
			seconds += n
		}
		if tally.Count == 0 || tally.Count != seconds || tally.Count != tally.Latency.TotalCount() {
			t.Errorf("%s %v: %d counted, %d by seconds, %d with a latency",
				tally.Call, tally.Outcome, tally.Count, seconds, tally.Latency.TotalCount())
		}
	}
	return r
}

// TestClosedLoopSellsOut counts winners, refusals and each call of steps of two.
func TestClosedLoopSellsOut(t *testing.T) {
	t.Parallel()
	const units, steps = 300, 2000
	s := newServer(t, units)
	reserve, purchase := s.call(t, "POST", "/reserve"), s.call(t, "POST", "/purchase")
	var told atomic.Int64
	r := mustRun(t, Config{
		URL: s.URL, Workers: 16, Steps: steps,
		Step: func(w *Worker) Outcome {
			a := w.Do(reserve, []byte(`{"dropId":7}`))
			if a.Kind != Won {
				return a.Outcome
			}
			told.Add(1)
			return w.Do(purchase, a.Body).Outcome
		},
	})
	if told.Load() != units || s.ids.Load() != units {
		t.Errorf("%d units, %d told, %d given", units, told.Load(), s.ids.Load())
	}
	for _, want := range []struct {
		call    string
		outcome Outcome
		count   int64
	}{
		{"", Outcome{}, units},
		{"", Outcome{Refused, "out_of_stock"}, steps - units},
		{"reserve", Outcome{}, units},
		{"reserve", Outcome{Refused, "out_of_stock"}, steps - units},
		{"purchase", Outcome{}, units},
	} {
		if got := r.Count(want.call, want.outcome); got != want.count {
			t.Errorf("%q %v: %d, want %d", want.call, want.outcome, got, want.count)
		}
	}
	if len(r.Tallies) != 5 || r.Sum("").Count != steps || r.Sum("", Won).Count != units || len(r.Calls()) != 2 {
		t.Errorf("tallies: %+v", r.Tallies)
	}
	if r.Rate("", Won) <= 0 || r.Sum("", Won).Quantile(0.5) <= 0 || r.Scheduled != 0 || r.Dropped != 0 {
		t.Errorf("result: %+v", r)
	}
}

// TestOutcomes has servers that fail in every way; the worker goes on after each.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	s := newServer(t, 0)
	for _, c := range []struct {
		path   string
		want   Outcome
		status int
	}{
		{"/slow", Outcome{}, 200},
		{"/close", Outcome{}, 200},
		{"/page", Outcome{}, 200},
		{"/nowhere", Outcome{Refused, "http_404"}, 404},
		{"/broken", Outcome{Failed, "http_502"}, 502},
		{"/overloaded", Outcome{Failed, "overloaded"}, 503},
		{"/hangup", Outcome{Failed, NoAnswer}, 0},
	} {
		call, good := s.call(t, "GET", c.path), s.call(t, "GET", "/page")
		r := mustRun(t, Config{
			URL: s.URL, Workers: 3, Steps: 30,
			Step: func(w *Worker) Outcome {
				a := w.Do(call, nil)
				if a.Outcome != c.want || a.Status != c.status || (a.Err != nil) != (c.status == 0) {
					t.Errorf("%s: %+v", c.path, a)
				}
				return w.Do(good, nil, "If-None-Match", `"1"`).Outcome
			},
		})
		if got := r.Count("", Outcome{}); got != 30 {
			t.Errorf("after %s %d of 30 succeeded", c.path, got)
		}
	}
}

func TestNotModified(t *testing.T) {
	t.Parallel()
	s := newServer(t, 0)
	call := s.call(t, "GET", "/page")
	mustRun(t, Config{
		URL: s.URL, Workers: 1, Steps: 20,
		Step: func(w *Worker) Outcome {
			full := w.Do(call, nil)
			tag := string(full.Header("ETag"))
			if full.Status != 200 || len(full.Body) != 1_200_000 || tag != `"1"` || full.Header("Nowhere") != nil {
				t.Errorf("page: %d of %d bytes, Etag %s", full.Status, len(full.Body), tag)
			}
			short := w.Do(call, nil, "If-None-Match", tag)
			if short.Status != 304 || short.Kind != Won || len(short.Body) != 0 {
				t.Errorf("not modified: %d of %d bytes", short.Status, len(short.Body))
			}
			return short.Outcome
		},
	})
}

// TestOpenLoopChargesForAStall has the server stand still for a while: all who
// were due meanwhile have waited, not only those whose calls were under way.
func TestOpenLoopChargesForAStall(t *testing.T) {
	t.Parallel()
	const rate, workers = 200, 4 // few, so that a busy machine makes up for the stall in time
	s := newServer(t, 1<<40)
	reserve := s.call(t, "POST", "/reserve")
	stall := time.AfterFunc(300*time.Millisecond, func() {
		s.stalled.Lock()
		defer s.stalled.Unlock()
		<-time.After(500 * time.Millisecond)
	})
	defer stall.Stop()
	var progress atomic.Int64
	r := mustRun(t, Config{
		URL: s.URL, Workers: workers, Rate: rate, Duration: 1500 * time.Millisecond,
		Step:     func(w *Worker) Outcome { return w.Do(reserve, []byte(`{"dropId":7}`)).Outcome },
		Progress: func(_ time.Duration, steps map[Outcome]int64) { progress.Store(steps[Outcome{}]) },
	})
	if r.Scheduled != 300 || r.Dropped != 0 || r.Count("", Outcome{}) != 300 {
		t.Errorf("%d were due, %d dropped, %d won", r.Scheduled, r.Dropped, r.Count("", Outcome{}))
	}
	for _, name := range []string{"", "reserve"} {
		var waited int64
		for _, bar := range r.Sum(name).Latency.Distribution() {
			if bar.From >= 100_000 {
				waited += bar.Count
			}
		}
		if waited < 60 { // 500 ms at 200 a second, less the last 100 ms of them
			t.Errorf("%q: %d waited 100 ms or more", name, waited)
		}
	}
	if progress.Load() == 0 {
		t.Error("no progress was told")
	}
}

// TestOpenLoopDropsWhatCannotWait has more arrivals than the server can take.
func TestOpenLoopDropsWhatCannotWait(t *testing.T) {
	t.Parallel()
	s := newServer(t, 0)
	slow := s.call(t, "GET", "/slow")
	r := mustRun(t, Config{
		URL: s.URL, Workers: 2, Rate: 2000, Steps: 1000, Backlog: 5,
		Step: func(w *Worker) Outcome { return w.Do(slow, nil).Outcome },
	})
	done := r.Count("", Outcome{})
	if r.Scheduled != 1000 || r.Dropped == 0 || done < 7 || done+r.Dropped != 1000 {
		t.Errorf("%d were due, %d dropped, %d done", r.Scheduled, r.Dropped, done)
	}
}

func TestCancelledRunEnds(t *testing.T) {
	t.Parallel()
	s := newServer(t, 0)
	slow := s.call(t, "GET", "/slow")
	for _, rate := range []float64{0, 1000} {
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int64
		r, err := Run(ctx, Config{URL: s.URL, Workers: 2, Rate: rate, Step: func(w *Worker) Outcome {
			if calls.Add(1) == 10 {
				cancel()
			}
			return w.Do(slow, nil).Outcome
		}})
		if err != nil || r.Count("", Outcome{}) != calls.Load() || r.Count("", Outcome{})+r.Dropped < r.Scheduled {
			t.Errorf("rate %v: %+v %v, %d calls", rate, r, err, calls.Load())
		}
	}
}

// TestServerThatEnds is away from the tenth call on.
func TestServerThatEnds(t *testing.T) {
	t.Parallel()
	s := newServer(t, 0)
	page := s.call(t, "GET", "/page")
	r := mustRun(t, Config{
		URL: s.URL, Workers: 1, Steps: 13,
		Step: func(w *Worker) Outcome {
			if w.N = w.N + 1; w.N == 11 {
				s.Listener.Close()
				s.CloseClientConnections()
			}
			return w.Do(page, nil).Outcome
		},
	})
	lost := r.Count("", Outcome{Failed, NoAnswer})
	if r.Count("", Outcome{}) != 10 || lost > 1 || lost+r.Count("", Outcome{Failed, NoConnection}) != 3 {
		t.Errorf("result: %+v", r.Tallies)
	}
}

func TestWrongConfigs(t *testing.T) {
	t.Parallel()
	s := newServer(t, 0)
	step := func(*Worker) Outcome { return Outcome{} }
	for _, cfg := range []Config{
		{URL: s.URL},
		{URL: "127.0.0.1:3000", Step: step},
		{URL: "ftp://127.0.0.1", Step: step},
		{URL: s.URL, Step: step, Workers: MaxWorkers + 1},
		{URL: s.URL, Step: step, Rate: MaxRate + 1},
		{URL: s.URL, Step: step, Rate: -1},
		{URL: s.URL, Step: step, Duration: MaxDuration + 1},
		{URL: s.URL, Step: step, Backlog: -1},
		{URL: "http://127.0.0.1:1", Step: step},
	} {
		if r, err := Run(t.Context(), cfg); err == nil {
			t.Errorf("%+v: %+v", cfg, r)
		}
	}
	for _, path := range []string{"http://elsewhere/", "//elsewhere", ":"} {
		if c, err := NewCall("x", "GET", s.URL, path); err == nil {
			t.Errorf("%q: %+v", path, c)
		}
	}
}
