package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/persist/webhook"
	"github.com/holdfast/holdfast/test/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m, harness.Options{Migrate: persist.Migrate, CheckLeaks: true})
}

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"

// env is an outbox of a test's own.
type env struct {
	*testing.T
	store *persist.Store
	sql   *pgxpool.Pool
	url   string // of the database
}

func newEnv(t *testing.T) *env {
	t.Helper()
	h := harness.New(t)
	store, err := persist.Open(persist.Config{URL: h.DatabaseURL, MaxConns: 4})
	must(t, err)
	t.Cleanup(store.Close)
	pool, err := pgxpool.New(t.Context(), h.DatabaseURL)
	must(t, err)
	t.Cleanup(pool.Close)
	return &env{T: t, store: store, sql: pool, url: h.DatabaseURL}
}

// purchases puts events on their way to the URLs, as the writer does, with the
// reservation ids from … to.
func (e *env) purchases(from, to int, urls ...string) {
	e.Helper()
	_, err := e.sql.Exec(e.Context(), `
		WITH events AS (
			INSERT INTO webhook_outbox (id, type, drop_id, reservation_id, user_id, size, occurred_at)
			SELECT 'purchase_' || i, 'purchase.completed', 7, i, 42, '', now() FROM generate_series($1::int, $2::int) AS i
			RETURNING id)
		INSERT INTO webhook_deliveries (event_id, url) SELECT id, u FROM events, unnest($3::text[]) AS u`, from, to, urls)
	must(e, err)
}

func (e *env) count(query string, args ...any) (n int64) {
	e.Helper()
	must(e, e.sql.QueryRow(e.Context(), query, args...).Scan(&n))
	return n
}

// become waits until so many deliveries have the state.
func (e *env) become(state persist.DeliveryState, want int64, within time.Duration) {
	e.Helper()
	harness.Eventually(e, within, func() error {
		if n := e.count(`SELECT count(*) FROM webhook_deliveries WHERE state = $1`, state); n != want {
			return fmt.Errorf("%d deliveries are %s, want %d", n, state, want)
		}
		return nil
	})
}

// sender runs one that is quick to look and to try again, until the test's end or
// a call of stop.
func (e *env) sender(urls []string, change func(*webhook.Config)) (stop func()) {
	e.Helper()
	cfg := webhook.Config{
		Store: e.store, Secrets: []string{secret}, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Timeout: 5 * time.Second, Tries: 10_000, Poll: 20 * time.Millisecond, RetryFirst: 20 * time.Millisecond, RetryMost: 100 * time.Millisecond,
		Grace: 100 * time.Millisecond, Watch: 20 * time.Millisecond, Tidy: time.Hour,
		Log: slog.New(slog.DiscardHandler),
	}
	for _, u := range urls {
		r, err := webhook.ParseReceiver(u)
		must(e, err)
		cfg.Receivers = append(cfg.Receivers, r)
	}
	if change != nil {
		change(&cfg)
	}
	s, err := webhook.New(cfg)
	must(e, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	e.Cleanup(stop)
	return stop
}

// message is what a receiver got.
type message struct {
	id, timestamp string
	body          string
}

// receiver is one that checks every signature with the library's verifier.
type receiver struct {
	*httptest.Server
	t      *testing.T
	answer func(n int, w http.ResponseWriter, r *http.Request) // n: which time this event comes, from 1

	mu      sync.Mutex
	got     []message
	times   map[string]int // by event
	flying  int
	busiest int // the most requests at once
}

// newReceiver answers as told, and 204 where answer is nil.
func newReceiver(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	r := &receiver{t: t, answer: answer, times: map[string]int{}}
	r.Server = httptest.NewUnstartedServer(r)
	r.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	return r
}

func (r *receiver) start() *receiver {
	r.Start()
	r.t.Cleanup(func() { r.CloseClientConnections(); r.Close() })
	return r
}

// listenAt starts the receiver at an address that was free before.
func (r *receiver) listenAt(address string) {
	r.t.Helper()
	l, err := net.Listen("tcp", address)
	must(r.t, err)
	_ = r.Listener.Close()
	r.Listener = l
	r.start()
}

// ServeHTTP takes one message.
func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return // the sender broke it off
	}
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err == nil {
		err = verifier.Verify(body, request.Header)
	}
	if err != nil || request.Method != http.MethodPost || request.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s %v: %v", request.Method, request.Header, err)
	}
	m := message{request.Header.Get("webhook-id"), request.Header.Get("webhook-timestamp"), string(body)}
	r.mu.Lock()
	r.got = append(r.got, m)
	r.times[m.id]++
	n := r.times[m.id]
	r.flying++
	r.busiest = max(r.busiest, r.flying)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.flying--
	}()
	if r.answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	r.answer(n, w, request)
}

// messages are those that have come.
func (r *receiver) messages() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]message{}, r.got...)
}

// each says how often every event has come.
func (r *receiver) each() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	each := map[string]int{}
	for id, n := range r.times {
		each[id] = n
	}
	return each
}

// eventually waits for a condition, or fails.
func (e *env) eventually(what string, cond func() bool) {
	e.Helper()
	harness.Eventually(e, 20*time.Second, func() error {
		if !cond() {
			return errors.New("waited in vain for " + what)
		}
		return nil
	})
}

// metric is a metric's series of one label value, summed; all of it for "".
func metric(tb testing.TB, reg *prometheus.Registry, name, label string) float64 {
	tb.Helper()
	families, err := reg.Gather()
	must(tb, err)
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			match := label == ""
			for _, l := range m.GetLabel() {
				match = match || l.GetValue() == label
			}
			if f.GetName() == name && match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
