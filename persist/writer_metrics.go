package persist

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast/holdfast/engine"
)

type writerMetrics struct {
	rows        *prometheus.CounterVec
	batches     prometheus.Counter
	seconds     prometheus.Histogram
	size        prometheus.Histogram
	errors      *prometheus.CounterVec
	deadLetters prometheus.Counter
	refused     prometheus.Counter
	length      *prometheus.GaugeVec
	lag         *prometheus.GaugeVec
	dead        *prometheus.GaugeVec
	lost        *prometheus.CounterVec
}

func newWriterMetrics(reg prometheus.Registerer) (*writerMetrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"partition"})
	}
	lost, err := newLostCounter(reg)
	if err != nil {
		return nil, err
	}
	m := &writerMetrics{
		lost: lost,
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_writer_rows_total",
			Help: "Rows inserted: reservations by how they ended (completed, cancelled, expired), and purchases.",
		}, []string{"kind"}),
		batches: counter("holdfast_writer_batches_total", "Transactions committed."),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "holdfast_writer_batch_seconds",
			Help:    "Duration of committed transactions.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		size: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "holdfast_writer_batch_records",
			Help:    "Ledger records in one committed transaction.",
			Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000},
		}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_writer_errors_total",
			Help: "Calls of the writer that failed and were made again, by the server that failed.",
		}, []string{"server"}),
		deadLetters: counter("holdfast_writer_dead_letters_total", "Ledger records set aside in the dead-letter stream."),
		refused:     counter("holdfast_writer_refused_purchases_total", "Purchases refused by the oversell guard."),
		length:      gauge("holdfast_ledger_entries", "Ledger entries not yet persisted."),
		lag:         gauge("holdfast_ledger_lag_seconds", "Age of the oldest ledger entry not yet persisted."),
		dead:        gauge("holdfast_ledger_dead_entries", "Entries in the dead-letter stream."),
	}
	for _, c := range []prometheus.Collector{
		m.rows, m.batches, m.seconds, m.size, m.errors, m.deadLetters, m.refused, m.length, m.lag, m.dead,
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register writer metrics: %w", err)
		}
	}
	for _, kind := range []engine.Status{engine.StatusCompleted, engine.StatusCancelled, engine.StatusExpired, "purchase"} {
		m.rows.WithLabelValues(string(kind)) // shown from the start, as zero
	}
	for _, server := range []string{"redis", "postgres"} {
		m.errors.WithLabelValues(server)
	}
	return m, nil
}

func (m *writerMetrics) batch(took time.Duration, records int, w written) {
	m.batches.Inc()
	m.size.Observe(float64(records))
	m.seconds.Observe(took.Seconds())
	for status, n := range w.reservations {
		m.rows.WithLabelValues(string(status)).Add(float64(n))
	}
	m.rows.WithLabelValues("purchase").Add(float64(w.purchases))
}

func (m *writerMetrics) ledger(partition string, info engine.LedgerInfo) {
	m.length.WithLabelValues(partition).Set(float64(info.Length))
	m.dead.WithLabelValues(partition).Set(float64(info.Dead))
	lag := 0.0
	if !info.Oldest.IsZero() {
		lag = max(0, time.Since(info.Oldest).Seconds()) // two clocks
	}
	m.lag.WithLabelValues(partition).Set(lag)
}
