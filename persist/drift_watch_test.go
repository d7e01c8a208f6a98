package persist_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

// audited runs n auditors on the engine until the test's end, and gives the
// registry of each.
func audited(e *env, of *engine.Engine, n int, cfg persist.DriftWatchConfig) []*prometheus.Registry {
	e.Helper()
	ctx, cancel := context.WithCancel(e.Context())
	var running sync.WaitGroup
	e.Cleanup(func() { cancel(); running.Wait() })
	registries := make([]*prometheus.Registry, n)
	for i := range registries {
		registries[i] = prometheus.NewRegistry()
		cfg := cfg
		cfg.Engine, cfg.Metrics, cfg.Log = of, registries[i], slog.New(slog.DiscardHandler)
		a, err := persist.NewDriftWatch(cfg)
		must(e, err)
		running.Go(func() { a.Run(ctx) })
	}
	return registries
}

// served is an engine that serves every partition.
func (e *env) served(client redis.UniversalClient) *engine.Engine {
	e.Helper()
	of, err := engine.New(engine.Config{
		Redis: client, Prefix: e.Prefix, Partitions: partitions, Standalone: true, Log: slog.New(slog.DiscardHandler),
	})
	must(e, err)
	must(e, of.Start(e.Context()))
	e.Cleanup(of.Stop)
	return of
}

// shown is the value of a metric without labels, and whether there is one.
func shown(t *testing.T, reg *prometheus.Registry, name string) (float64, bool) {
	t.Helper()
	families, err := reg.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue(), true
		}
	}
	return 0, false
}

func TestAuditorsTakeTurnsAndTellTheSame(t *testing.T) {
	e := newEnv(t)
	var running, most, audits atomic.Int64
	registries := audited(e, e.served(e.redis), 3, persist.DriftWatchConfig{
		Every: 200 * time.Millisecond,
		Audit: func(context.Context) (int, error) {
			if now := running.Add(1); now > most.Load() {
				most.Store(now)
			}
			defer running.Add(-1)
			if audits.Add(1) < 3 {
				return 0, errors.New("a store is away")
			}
			return 7, nil
		},
	})
	began := time.Now()
	harness.Eventually(t, 20*time.Second, func() error {
		for i, reg := range registries {
			if drift, ok := shown(t, reg, "holdfast_audit_drift"); !ok || drift != 7 {
				return fmt.Errorf("auditor %d tells of %v differences, %v", i, drift, ok)
			}
			if at, _ := shown(t, reg, "holdfast_audit_last_success_timestamp_seconds"); time.Since(time.UnixMilli(int64(at*1000))) > time.Minute {
				return fmt.Errorf("auditor %d tells of an audit at %v", i, at)
			}
		}
		return nil
	})
	if most.Load() != 1 {
		t.Errorf("%d audits at once", most.Load())
	}
	// Each audit has the next one wait for 200 ms.
	if n, took := audits.Load(), time.Since(began); n > int64(took/(200*time.Millisecond))+1 {
		t.Errorf("%d audits in %v", n, took)
	}
}

func TestAnAuditThatTakesLongComesSeldom(t *testing.T) {
	e := newEnv(t)
	var audits atomic.Int64
	audited(e, e.served(e.redis), 2, persist.DriftWatchConfig{
		Every: 100 * time.Millisecond, Timeout: 300 * time.Millisecond,
		Audit: func(ctx context.Context) (int, error) {
			audits.Add(1)
			<-ctx.Done() // its time is bounded
			return 0, ctx.Err()
		},
	})
	harness.Eventually(t, 20*time.Second, func() error {
		if audits.Load() == 0 {
			return errors.New("no audit")
		}
		return nil
	})
	began := time.Now()
	harness.Eventually(t, 20*time.Second, func() error {
		if time.Since(began) < 2*time.Second {
			return errors.New("not long enough")
		}
		return nil
	})
	if n := audits.Load(); n != 1 { // the next comes after 20 times 300 ms
		t.Errorf("%d audits", n)
	}
}

func TestDropMetricsShowTheNewestAlone(t *testing.T) {
	e := newEnv(t)
	proxy := harness.NewProxy(t, e.RedisURL)
	client, err := engine.NewClient(engine.ClientConfig{URL: proxy.URL(), Timeout: 500 * time.Millisecond})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	of := e.served(client)
	var newest int64
	for range 4 {
		d := e.drop(engine.SizeStock{Stock: 5})
		must(t, of.Open(t.Context(), engine.Drop{ID: d.ID, Hold: time.Minute, Start: time.Now().Add(-time.Minute), Sizes: d.Sizes}))
		must(t, e.store.MarkOpened(t.Context(), d.ID))
		newest = d.ID
	}
	_, err = of.Reserve(t.Context(), engine.ReserveRequest{Drop: newest, User: e.user()})
	must(t, err)
	m, err := persist.NewDropMetrics(persist.DropMetricsConfig{Engine: of, Store: e.store, Drops: 2, MaxAge: time.Millisecond})
	must(t, err)
	reg := prometheus.NewRegistry()
	must(t, reg.Register(m))
	text := func() string {
		families, err := reg.Gather()
		must(t, err)
		var b strings.Builder
		for _, f := range families {
			for _, s := range f.GetMetric() {
				fmt.Fprintf(&b, "%s %v %v\n", f.GetName(), s.GetLabel(), s.GetGauge().GetValue())
			}
		}
		return b.String()
	}
	shown := text()
	if strings.Count(shown, "holdfast_drop_total_units") != 2 || strings.Count(shown, "holdfast_drop_units") != 6 {
		t.Errorf("shown are\n%s", shown)
	}
	for state, n := range map[string]int{"available": 4, "held": 1, "sold": 0} {
		found := false
		for line := range strings.Lines(shown) {
			found = found || strings.Contains(line, `"`+strconv.FormatInt(newest, 10)+`"`) && strings.Contains(line, state) && strings.HasSuffix(line, fmt.Sprintf(" %d\n", n))
		}
		if !found {
			t.Errorf("%d %s are not in\n%s", n, state, shown)
		}
	}
	proxy.Cut()
	harness.Eventually(t, 10*time.Second, func() error {
		if shown := text(); shown != "" {
			return fmt.Errorf("without Redis there is shown\n%s", shown)
		}
		return nil
	})
	proxy.Restore()
	harness.Eventually(t, 10*time.Second, func() error {
		if shown := text(); strings.Count(shown, "holdfast_drop_units") != 6 {
			return fmt.Errorf("with Redis again there is shown\n%s", shown)
		}
		return nil
	})
}
