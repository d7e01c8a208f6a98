package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// seeFlags say what an instance lets its operator see.
type seeFlags struct {
	AuditEvery   time.Duration `env:"HOLDFAST_AUDIT_EVERY" default:"1m" help:"How often Redis is compared with Postgres in the background, by all instances together; 0 for never."`
	MetricsDrops int           `env:"HOLDFAST_METRICS_DROPS" default:"50" help:"Of how many of the newest drops the metrics show the units; 0 for none."`
	OTLPEndpoint string        `name:"otlp-endpoint" env:"HOLDFAST_OTLP_ENDPOINT,OTEL_EXPORTER_OTLP_ENDPOINT" placeholder:"URL" help:"Where traces go by OTLP over HTTP, such as http://127.0.0.1:4318; by default there are none."`
	TraceRatio   float64       `env:"HOLDFAST_TRACE_RATIO" default:"0.01" help:"Which part of all requests is traced, from 0 to 1."`
}

func (f seeFlags) validate() error {
	var errs []error
	if f.AuditEvery != 0 && (f.AuditEvery < time.Second || f.AuditEvery > 24*time.Hour) {
		errs = append(errs, fmt.Errorf("HOLDFAST_AUDIT_EVERY (--audit-every): %v is not 0 or in 1s … 24h", f.AuditEvery))
	}
	if f.MetricsDrops < 0 || f.MetricsDrops > 1000 {
		errs = append(errs, fmt.Errorf("HOLDFAST_METRICS_DROPS (--metrics-drops): %d is not in 0 … 1000", f.MetricsDrops))
	}
	if f.TraceRatio < 0 || f.TraceRatio > 1 {
		errs = append(errs, fmt.Errorf("HOLDFAST_TRACE_RATIO (--trace-ratio): %v is not in 0 … 1", f.TraceRatio))
	}
	if f.OTLPEndpoint != "" {
		if _, err := tracesURL(f.OTLPEndpoint); err != nil {
			errs = append(errs, fmt.Errorf("HOLDFAST_OTLP_ENDPOINT (--otlp-endpoint): %w", err))
		}
	}
	return errors.Join(errs...)
}

// startSeeing registers the figures that no part of the instance has by itself,
// and starts the audit in the background.
func (in *instance) startSeeing(background context.Context) error {
	s := in.stores
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "holdfast_build_info", Help: "Is 1; says which build runs.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	build.Set(1)
	all := []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build,
		engine.NewPoolCollector("engine", s.redis), s.store.PoolCollector(),
	}
	if in.ledgerClient != nil {
		all = append(all, engine.NewPoolCollector("ledger", in.ledgerClient))
	}
	if in.see.MetricsDrops > 0 {
		drops, err := persist.NewDropMetrics(persist.DropMetricsConfig{Engine: s.engine, Store: s.store, Drops: in.see.MetricsDrops})
		if err != nil {
			return err
		}
		all = append(all, drops)
	}
	for _, c := range all {
		if err := s.metrics.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	if in.see.AuditEvery == 0 {
		return nil
	}
	watch, err := persist.NewDriftWatch(persist.DriftWatchConfig{
		Engine: s.engine, Audit: s.drift, Every: in.see.AuditEvery, Log: s.log, Metrics: s.metrics,
	})
	if err != nil {
		return err
	}
	in.background.Go(func() { watch.Run(background) })
	return nil
}

// driftTries is how often a difference is looked at again before it counts: the
// two sides are not read in the same instant.
const driftTries = 5

// drift counts the differences between Redis and Postgres.
func (s *stores) drift(ctx context.Context) (int, error) {
	auditor, err := persist.NewAuditor(persist.AuditorConfig{Engine: s.engine, Store: s.store})
	if err != nil {
		return 0, err
	}
	report, err := auditor.Patiently(ctx, driftTries)
	return report.Differences, err
}
