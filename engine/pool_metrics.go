package engine

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// poolCollector gives the figures of one client's connections to Redis, of all
// its servers together.
type poolCollector struct {
	client                      redis.UniversalClient
	connections, requests       *prometheus.Desc
	waits, waitSeconds, discard *prometheus.Desc
}

// NewPoolCollector gives the figures of a client's pool as metrics; name tells it
// from the process's other clients.
func NewPoolCollector(name string, client redis.UniversalClient) prometheus.Collector {
	desc := func(metric, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("holdfast_redis_pool_"+metric, help, labels, prometheus.Labels{"client": name})
	}
	return &poolCollector{
		client:      client,
		connections: desc("connections", "Connections to Redis.", "state"),
		requests:    desc("requests_total", "Times a connection was asked for: one was free (hit), had to be made (miss), or none came in time (timeout).", "result"),
		waits:       desc("waits_total", "Times a connection had to be waited for."),
		waitSeconds: desc("wait_seconds_total", "Time spent waiting for connections."),
		discard:     desc("stale_connections_total", "Connections that were thrown away as unfit."),
	}
}

// Describe implements prometheus.Collector.
func (c *poolCollector) Describe(to chan<- *prometheus.Desc) {
	to <- c.connections
	to <- c.requests
	to <- c.waits
	to <- c.waitSeconds
	to <- c.discard
}

// Collect implements prometheus.Collector.
func (c *poolCollector) Collect(to chan<- prometheus.Metric) {
	s := c.client.PoolStats()
	idle := min(s.IdleConns, s.TotalConns)
	gauge := func(v uint32, state string) {
		to <- prometheus.MustNewConstMetric(c.connections, prometheus.GaugeValue, float64(v), state)
	}
	gauge(idle, "idle")
	gauge(s.TotalConns-idle, "used")
	for result, n := range map[string]uint32{"hit": s.Hits, "miss": s.Misses, "timeout": s.Timeouts} {
		to <- prometheus.MustNewConstMetric(c.requests, prometheus.CounterValue, float64(n), result)
	}
	to <- prometheus.MustNewConstMetric(c.waits, prometheus.CounterValue, float64(s.WaitCount))
	to <- prometheus.MustNewConstMetric(c.waitSeconds, prometheus.CounterValue, float64(s.WaitDurationNs)/1e9)
	to <- prometheus.MustNewConstMetric(c.discard, prometheus.CounterValue, float64(s.StaleConns))
}
