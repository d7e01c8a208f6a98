package api

import "github.com/prometheus/client_golang/prometheus"

// readinessCollector tells as metrics what /readyz tells.
type readinessCollector struct {
	api              *API
	ready, component *prometheus.Desc
}

func newReadinessCollector(a *API) *readinessCollector {
	return &readinessCollector{
		api:       a,
		ready:     prometheus.NewDesc("holdfast_ready", "Whether the instance can serve (1), as /readyz says.", nil, nil),
		component: prometheus.NewDesc("holdfast_component_ok", "Whether what the instance needs is as it should be (1), as /readyz says.", []string{"component"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *readinessCollector) Describe(to chan<- *prometheus.Desc) {
	to <- c.ready
	to <- c.component
}

// Collect implements prometheus.Collector.
func (c *readinessCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, ok bool, labels ...string) {
		v := 0.0
		if ok {
			v = 1
		}
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	r := c.api.readiness()
	gauge(c.ready, r.Status != "unavailable")
	gauge(c.component, r.Redis.State == stateOK, "redis")
	gauge(c.component, r.Postgres.State == stateOK, "postgres")
	gauge(c.component, r.Scripts.State == stateOK, "scripts")
	gauge(c.component, r.Settings.State == stateOK, "settings")
	gauge(c.component, r.Fencing.State == stateOK, "fencing")
}
