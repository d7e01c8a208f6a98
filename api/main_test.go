package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m, harness.Options{
		Migrate: persist.Migrate, CheckLeaks: true,
		IgnoreLeaks: []goleak.Option{
			// fasthttp's clock for the Date header lives as long as the process, and
			// what tidies a server's workers sleeps out its 10 s after the shutdown.
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		},
	})
}

// server is one instance with everything behind it, and a client of it.
type server struct {
	*client
	env    *harness.Env
	engine *engine.Engine
	store  *persist.Store
	users  *persist.Users
	api    *api.API
}

// wiring is how a server differs from the usual.
type wiring struct {
	redisURL, databaseURL string // of a proxy; the environment's own where empty
	timeout               time.Duration
	noWriter, noExpirer   bool
	api                   func(*api.Config)
	engine                func(*engine.Config)
}

// newServer assembles and starts a server, stopped at the test's end.
func newServer(t *testing.T, changes ...func(*wiring)) *server {
	t.Helper()
	return startServer(t, harness.New(t), changes...)
}

func startServer(t *testing.T, env *harness.Env, changes ...func(*wiring)) *server {
	t.Helper()
	w := wiring{redisURL: env.RedisURL, databaseURL: env.DatabaseURL, timeout: 2 * time.Second}
	for _, change := range changes {
		change(&w)
	}
	redis, err := engine.NewClient(engine.ClientConfig{URL: w.redisURL, Timeout: w.timeout})
	must(t, err)
	t.Cleanup(func() { must(t, redis.Close()) })
	selling := engine.Config{Redis: redis, Prefix: env.Prefix, Partitions: 2, CallTimeout: w.timeout, Log: quiet()}
	if w.engine != nil {
		w.engine(&selling)
	}
	e, err := engine.New(selling)
	must(t, err)
	must(t, e.Start(t.Context()))
	t.Cleanup(e.Stop)
	store, err := persist.Open(persist.Config{URL: w.databaseURL, MaxConns: 8, Timeout: w.timeout, ConnectTimeout: w.timeout})
	must(t, err)
	t.Cleanup(store.Close)
	reconciler, err := persist.NewReconciler(persist.ReconcilerConfig{Engine: e, Store: store, Log: quiet()})
	must(t, err)
	if err := reconciler.Settle(t.Context()); !errors.Is(err, persist.ErrUnavailable) { // some tests start without
		must(t, err)
	}
	users, err := persist.NewUsers(persist.UsersConfig{Store: store})
	must(t, err)

	s := &server{env: env, engine: e, store: store, users: users}
	if !w.noExpirer {
		s.startExpirer(t)
	}
	if !w.noWriter {
		s.startWriter(t)
	}
	cfg := api.Config{Engine: e, Store: store, Users: users, Admin: harness.AdminToken, Log: quiet()}
	if w.api != nil {
		w.api(&cfg)
	}
	s.api, err = api.New(cfg)
	must(t, err)
	s.client = newClient(t, serve(t, s.api, s.api.Serve))
	return s
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// serveBack opens the back door.
func (s *server) serveBack(t *testing.T) (address string) {
	t.Helper()
	return serve(t, s.api, s.api.ServeBack)
}

// serve has an API serve on a free port until the test's end.
func serve(t *testing.T, a *api.API, by func(net.Listener) error) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- by(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		must(t, a.Shutdown(ctx))
		must(t, <-served)
	})
	return l.Addr().String()
}

func (s *server) startExpirer(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	x := s.engine.NewExpirer(engine.ExpirerConfig{})
	go func() { defer close(done); x.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func (s *server) startWriter(t *testing.T) {
	t.Helper()
	redis, err := engine.NewClient(engine.ClientConfig{URL: s.env.RedisURL})
	must(t, err)
	t.Cleanup(func() { must(t, redis.Close()) })
	w, err := persist.NewWriter(persist.WriterConfig{
		Ledger: s.engine.Ledger(redis, "test"), Store: s.store,
		Linger: time.Millisecond, Block: 50 * time.Millisecond, Log: quiet(),
	})
	must(t, err)
	w.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := w.Stop(ctx); err != nil {
			t.Logf("writer: %v", err) // its Postgres may be cut off
		}
	})
}

// drop creates a drop that has started; fields replaces or adds some, and
// leaves out those that are nil.
func (s *server) drop(t *testing.T, fields fields) int64 {
	t.Helper()
	body := with(newDrop(), fields)
	return s.post(t, "/api/drops/create", body).want(t, 201).int(t, "id")
}

func newDrop() fields {
	return fields{
		"name": "Air Runner", "price": 180, "total_stock": 10,
		"start_time": time.Now().Add(-time.Minute).Format(time.RFC3339),
	}
}

func (s *server) user(t *testing.T, name string) int64 {
	t.Helper()
	r := s.post(t, "/api/users", fields{"username": name})
	if r.status != 200 {
		r.want(t, 201)
	}
	return r.int(t, "id")
}

// hold reserves a unit and returns the reservation's id.
func (s *server) hold(t *testing.T, drop, user int64) int64 {
	t.Helper()
	return s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": user}).want(t, 201).int(t, "id")
}

func (s *server) purchase(t *testing.T, reservation int64) reply {
	t.Helper()
	return s.post(t, "/api/drops/purchase", fields{"reservationId": reservation})
}

func (s *server) cancel(t *testing.T, reservation int64) reply {
	t.Helper()
	return s.post(t, "/api/drops/cancel", fields{"reservationId": reservation})
}

func (s *server) reservation(t *testing.T, id int64) reply {
	t.Helper()
	return s.get(t, fmt.Sprint("/api/reservations/", id)).want(t, 200)
}

// become polls the reservation until the field has the value.
func (s *server) become(t *testing.T, id int64, field, value string) (r reply) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, func() error {
		if r = s.reservation(t, id); r.body[field] != value {
			return fmt.Errorf("%s is %v, want %s: %s", field, r.body[field], value, r.raw)
		}
		return nil
	})
	return r
}

// inHistory waits until the end of a hold has reached Postgres.
func (s *server) inHistory(t *testing.T, id int64) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, func() error {
		_, err := s.store.Reservation(t.Context(), id)
		return err
	})
}

// wantStock fails unless the drop shows these counts.
func (s *server) wantStock(t *testing.T, drop, available, held, sold int64) {
	t.Helper()
	r := s.get(t, fmt.Sprint("/api/drops/", drop)).want(t, 200)
	if a, h, x := r.int(t, "available_stock"), r.int(t, "held"), r.int(t, "sold"); a != available || h != held || x != sold {
		t.Errorf("available %d, held %d, sold %d; want %d, %d, %d", a, h, x, available, held, sold)
	}
}

// traces is everything that has been written: the rows of each table, Redis's
// keys, and the drops with their stock, not from the API's memory.
func (s *server) traces(t *testing.T) string {
	t.Helper()
	ctx := t.Context()
	db, err := pgx.Connect(ctx, s.env.DatabaseURL)
	must(t, err)
	defer func() { must(t, db.Close(ctx)) }()
	var rows string
	must(t, db.QueryRow(ctx, `SELECT format('users %s, drops %s, sizes %s, reservations %s, purchases %s',
		(SELECT count(*) FROM users), (SELECT count(*) FROM drops), (SELECT count(*) FROM drop_sizes),
		(SELECT count(*) FROM reservations), (SELECT count(*) FROM purchases))`).Scan(&rows))
	var keys int
	redis := s.env.Redis()
	for scan := redis.Scan(ctx, 0, s.env.Prefix+":*", 1000).Iterator(); scan.Next(ctx); keys++ {
		must(t, scan.Err())
	}
	drops, err := s.store.ListDrops(ctx, persist.ListQuery{Limit: 1000, Buyers: 3})
	must(t, err)
	ids := make([]int64, len(drops))
	for i := range drops {
		ids[i] = drops[i].ID
	}
	stock, err := s.engine.Stock(ctx, ids)
	must(t, err)
	shown, err := json.Marshal([]any{drops, stock})
	must(t, err)
	return fmt.Sprintf("%s, keys %d, %s", rows, keys, shown)
}

// leavesNoTrace fails the test if what do does writes anything.
func (s *server) leavesNoTrace(t *testing.T, do func()) {
	t.Helper()
	before := s.traces(t)
	do()
	if after := s.traces(t); after != before {
		t.Errorf("traces were left.\nbefore: %s\nafter:  %s", before, after)
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
