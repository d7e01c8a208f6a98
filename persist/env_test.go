package persist_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m, harness.Options{Migrate: persist.Migrate}) }

const partitions = 2

// env is a database and a ledger of a test's own.
type env struct {
	*testing.T
	*harness.Env
	store *persist.Store
	redis redis.UniversalClient
	sql   *pgxpool.Pool // for looking at what is in the tables

	webhooks []persist.Subscription // of changes and of instances; nil: none
}

func newEnv(t *testing.T) *env {
	t.Helper()
	return newEnvOn(t, harness.New(t))
}

func newEnvOn(t *testing.T, h *harness.Env) *env {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })

	store, err := persist.Open(persist.Config{URL: h.DatabaseURL, MaxConns: 8})
	must(t, err)
	t.Cleanup(store.Close)
	pool, err := pgxpool.New(t.Context(), h.DatabaseURL)
	must(t, err)
	t.Cleanup(pool.Close)
	e := &env{T: t, Env: h, store: store, sql: pool}
	e.redis = e.redisClient()
	return e
}

func (e *env) redisClient(hooks ...redis.Hook) redis.UniversalClient {
	e.Helper()
	c := e.Redis()
	for _, h := range hooks {
		c.AddHook(h)
	}
	return c
}

func (e *env) ledger(c redis.UniversalClient, consumer string) *engine.Ledger {
	e.Helper()
	eng, err := engine.New(engine.Config{Redis: c, Prefix: e.Prefix, Partitions: partitions})
	must(e, err)
	admit(e, eng, e.store)
	return eng.Ledger(c, consumer)
}

// admit has every partition compared and served, as an instance does at its start.
func admit(t testing.TB, eng *engine.Engine, store *persist.Store) {
	t.Helper()
	r, err := persist.NewReconciler(persist.ReconcilerConfig{Engine: eng, Store: store, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	must(t, r.Settle(t.Context()))
}

// writer starts a writer that is quick to linger, claim and stop; change may
// alter its configuration.
func (e *env) writer(consumer string, change func(*persist.WriterConfig)) *persist.Writer {
	e.Helper()
	cfg := persist.WriterConfig{
		Ledger: e.ledger(e.redisClient(), consumer), Store: e.store,
		Linger: 5 * time.Millisecond, Block: 20 * time.Millisecond, ClaimIdle: 100 * time.Millisecond,
		Watch: 20 * time.Millisecond,
		Log:   slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	w, err := persist.NewWriter(cfg)
	must(e, err)
	w.Start()
	e.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := w.Stop(ctx); err != nil {
			e.Errorf("stop writer: %v", err)
		}
	})
	return w
}

// eventually waits for a condition, or fails.
func (e *env) eventually(what string, cond func() bool) {
	e.Helper()
	harness.Eventually(e, 10*time.Second, func() error {
		if !cond() {
			return errors.New("waited in vain for " + what)
		}
		return nil
	})
}

// drain waits until the ledger is empty.
func (e *env) drain(w *persist.Writer) {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.Context(), 30*time.Second)
	defer cancel()
	must(e, w.Drain(ctx, nil))
}

func (e *env) drop(sizes ...engine.SizeStock) persist.Drop {
	e.Helper()
	d, err := e.store.CreateDrop(e.Context(), persist.NewDrop{
		Name: "Air One", PriceMinor: 18000, Start: time.Now(), Hold: time.Minute, Sizes: sizes,
	})
	must(e, err)
	must(e, e.store.MarkOpened(e.Context(), d.ID))
	return d
}

func (e *env) user() int64 {
	e.Helper()
	users, err := persist.NewUsers(persist.UsersConfig{Store: e.store})
	must(e, err)
	u, _, err := users.FindOrCreate(e.Context(), "ada", "ada@example.com")
	must(e, err)
	return u.ID
}

// rec is a ledger record as the scripts write it.
func rec(kind string, drop, seq, user int64, size string) string {
	const ended = 1_800_000_000_000
	return fmt.Sprintf("%d:%s:%d:%d:%d:%d:%d:%s", ended+seq, kind, drop, seq, user, ended-1000, ended+60_000, size)
}

// add puts one entry with these records on the drop's ledger.
func (e *env) add(drop int64, records ...string) {
	e.Helper()
	fields := make([]string, 0, 2*len(records))
	for i, r := range records {
		fields = append(fields, strconv.Itoa(i+1), r)
	}
	must(e, e.redis.XAdd(e.Context(), &redis.XAddArgs{Stream: e.stream(drop, "ledger"), Values: fields}).Err())
}

func (e *env) stream(drop int64, name string) string {
	return engine.KeyPrefix(e.Prefix, partitions, int(drop%partitions)) + name
}

// dead gives the dead-lettered records of the drop's partition.
func (e *env) dead(drop int64) []string {
	e.Helper()
	msgs, err := e.redis.XRange(e.Context(), e.stream(drop, "dead"), "-", "+").Result()
	must(e, err)
	records := make([]string, 0, len(msgs))
	for _, m := range msgs {
		records = append(records, m.Values["record"].(string))
	}
	slices.Sort(records)
	return records
}

func (e *env) count(query string, args ...any) (n int64) {
	e.Helper()
	must(e, e.sql.QueryRow(e.Context(), query, args...).Scan(&n))
	return n
}

// counted checks a drop's sold counter and its rows.
func (e *env) counted(drop int64, size string, purchases int64) {
	e.Helper()
	counts, err := e.store.Counts(e.Context())
	must(e, err)
	for _, c := range counts {
		if c.Drop == drop && c.Size == size {
			if c.Sold != purchases || c.Purchases != purchases {
				e.Errorf("drop %d size %q: sold %d, purchases %d, want %d of both", drop, size, c.Sold, c.Purchases, purchases)
			}
			return
		}
	}
	e.Errorf("drop %d size %q is not counted", drop, size)
}

// metric is the sum of a metric's series.
func metric(tb testing.TB, reg *prometheus.Registry, name string) float64 {
	tb.Helper()
	families, err := reg.Gather()
	must(tb, err)
	sum := 0.0
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
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
