package persist

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast/holdfast/engine"
)

// DriftWatchConfig configures a DriftWatch.
type DriftWatchConfig struct {
	// Engine is of the Redis that is audited. Required.
	Engine *engine.Engine
	// Audit compares both stores once and gives the number of differences.
	// Required.
	Audit func(context.Context) (drift int, err error)
	// Every is how often the deployment is audited, by all its instances
	// together. Defaults to 1 min.
	Every time.Duration
	// Timeout bounds one audit. Defaults to 2 min.
	Timeout time.Duration
	// Log gets drift and audits that could not be made. Defaults to slog.Default().
	Log *slog.Logger
	// Metrics gets what the last audit found. Defaults to none being registered.
	Metrics prometheus.Registerer
}

// DriftWatch compares Redis with Postgres again and again, so that drift between
// them is found by an alarm and not by a buyer. Each instance may run one: Redis
// gives one of them the turn, and all tell what it found.
//
// An audit reads every live hold, so it takes its time in a great sale: the next
// one comes after twenty times what the last has taken, if that is later.
type DriftWatch struct {
	cfg  DriftWatchConfig
	last atomic.Pointer[engine.AuditResult]

	drift, at, took *prometheus.Desc
}

// auditShare is the part of the time that audits may take: one in so many.
const auditShare = 20

// NewDriftWatch makes a DriftWatch that is not running yet.
func NewDriftWatch(cfg DriftWatchConfig) (*DriftWatch, error) {
	if cfg.Engine == nil || cfg.Audit == nil {
		return nil, errors.New("persist: DriftWatchConfig.Engine and Audit are required")
	}
	cfg.Every = orDefault(cfg.Every, time.Minute)
	cfg.Timeout = orDefault(cfg.Timeout, 2*time.Minute)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("holdfast_audit_"+name, help, nil, nil)
	}
	a := &DriftWatch{
		cfg:   cfg,
		drift: desc("drift", "Differences between Redis and Postgres that the deployment's last audit found."),
		at:    desc("last_success_timestamp_seconds", "When the deployment's last audit ended."),
		took:  desc("duration_seconds", "How long the deployment's last audit took."),
	}
	return a, cfg.Metrics.Register(a)
}

// Describe implements prometheus.Collector.
func (a *DriftWatch) Describe(to chan<- *prometheus.Desc) {
	to <- a.drift
	to <- a.at
	to <- a.took
}

// Collect implements prometheus.Collector.
func (a *DriftWatch) Collect(to chan<- prometheus.Metric) {
	r := a.last.Load()
	if r == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64) { to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	gauge(a.drift, float64(r.Drift))
	gauge(a.at, float64(r.At.UnixMilli())/1000)
	gauge(a.took, r.Took.Seconds())
}

// Run audits whenever it is this instance's turn, until ctx ends.
func (a *DriftWatch) Run(ctx context.Context) {
	look := min(max(a.cfg.Every/4, 100*time.Millisecond), 15*time.Second)
	for {
		if err := a.turn(ctx); err != nil && ctx.Err() == nil {
			a.cfg.Log.Warn("no audit could be made", "err", err)
		}
		select { // jittered, so that the instances do not all come at once
		case <-time.After(look/2 + rand.N(look/2)): //nolint:gosec // jitter
		case <-ctx.Done():
			return
		}
	}
}

// turn audits if it is this instance's turn, and learns what was found last.
func (a *DriftWatch) turn(ctx context.Context) error {
	if len(a.cfg.Engine.Fenced()) == 0 { // else there is nothing to compare yet
		mine, err := a.cfg.Engine.TakeAudit(ctx, a.cfg.Every+a.cfg.Timeout)
		if err != nil {
			return err
		}
		if mine {
			if err := a.audit(ctx); err != nil {
				return err
			}
		}
	}
	r, known, err := a.cfg.Engine.LastAudit(ctx)
	if err == nil && known {
		a.last.Store(&r)
	}
	return err
}

func (a *DriftWatch) audit(ctx context.Context) (err error) {
	began := time.Now()
	defer func() {
		rest := max(a.cfg.Every, auditShare*time.Since(began))
		// Also where the instance is stopped in the middle: the others go on.
		err = errors.Join(err, a.cfg.Engine.RestAudit(context.WithoutCancel(ctx), rest))
	}()
	bounded, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	drift, err := a.cfg.Audit(bounded)
	if err != nil {
		return err
	}
	if drift > 0 {
		a.cfg.Log.Error(`Redis and Postgres differ; "holdfast audit" says where`, "differences", drift)
	}
	return a.cfg.Engine.KeepAudit(ctx, engine.AuditResult{At: time.Now().UTC(), Took: time.Since(began), Drift: drift})
}
