package persist

import (
	"github.com/prometheus/client_golang/prometheus"
)

// poolCollector gives the figures of the connections to Postgres.
type poolCollector struct {
	store                       *Store
	connections, most           *prometheus.Desc
	acquires, waits, canceled   *prometheus.Desc
	acquireSeconds, waitSeconds *prometheus.Desc
}

// PoolCollector gives the figures of the store's pool as metrics.
func (s *Store) PoolCollector() prometheus.Collector {
	desc := func(metric, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("holdfast_postgres_pool_"+metric, help, labels, nil)
	}
	return &poolCollector{
		store:          s,
		connections:    desc("connections", "Connections to Postgres.", "state"),
		most:           desc("max_connections", "Most connections to Postgres that this instance holds."),
		acquires:       desc("acquires_total", "Times a connection was had."),
		acquireSeconds: desc("acquire_seconds_total", "Time until connections were had."),
		waits:          desc("waits_total", "Times a connection was had after waiting, since none was free."),
		waitSeconds:    desc("wait_seconds_total", "Time spent waiting, since none was free."),
		canceled:       desc("canceled_acquires_total", "Times none came in time."),
	}
}

// Describe implements prometheus.Collector.
func (c *poolCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.connections, c.most, c.acquires, c.acquireSeconds, c.waits, c.waitSeconds, c.canceled} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *poolCollector) Collect(to chan<- prometheus.Metric) {
	s := c.store.pool.Stat()
	for state, n := range map[string]int32{"idle": s.IdleConns(), "used": s.AcquiredConns(), "connecting": s.ConstructingConns()} {
		to <- prometheus.MustNewConstMetric(c.connections, prometheus.GaugeValue, float64(n), state)
	}
	to <- prometheus.MustNewConstMetric(c.most, prometheus.GaugeValue, float64(s.MaxConns()))
	counter := func(d *prometheus.Desc, v float64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v)
	}
	counter(c.acquires, float64(s.AcquireCount()))
	counter(c.acquireSeconds, s.AcquireDuration().Seconds())
	counter(c.waits, float64(s.EmptyAcquireCount()))
	counter(c.waitSeconds, s.EmptyAcquireWaitTime().Seconds())
	counter(c.canceled, float64(s.CanceledAcquireCount()))
}
