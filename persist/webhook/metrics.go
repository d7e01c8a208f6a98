package webhook

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast/holdfast/persist"
)

// The results of an attempt.
const (
	resultDelivered = "delivered"
	resultFailed    = "failed"    // to be tried again
	resultForbidden = "forbidden" // the same, as the address may not be sent to
	resultDead      = "dead"      // the last try failed too
)

// metrics has labels of the configured receivers alone.
type metrics struct {
	attempts *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	backlog  *prometheus.GaugeVec
	oldest   *prometheus.GaugeVec
	dead     *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer, receivers []Receiver) (*metrics, error) {
	of := []string{"receiver"}
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_webhook_attempts_total",
			Help: "Attempts to deliver an event: delivered, failed and forbidden (tried again later), dead (given up).",
		}, []string{"receiver", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "holdfast_webhook_attempt_seconds",
			Help:    "Duration of an attempt.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, of),
		backlog: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "holdfast_webhook_backlog", Help: "Deliveries that wait, of the whole deployment.",
		}, of),
		oldest: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "holdfast_webhook_oldest_seconds", Help: "Age of the oldest delivery that waits.",
		}, of),
		dead: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "holdfast_webhook_dead", Help: "Deliveries that were given up and are kept.",
		}, of),
	}
	for _, c := range []prometheus.Collector{m.attempts, m.seconds, m.backlog, m.oldest, m.dead} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register webhook metrics: %w", err)
		}
	}
	for _, r := range receivers { // shown from the start, as zero
		for _, result := range []string{resultDelivered, resultFailed, resultForbidden, resultDead} {
			m.attempts.WithLabelValues(r.host, result)
		}
	}
	return m, nil
}

// counted shows what waits, and zero for receivers that have nothing. Receivers
// on one host are shown together.
func (m *metrics) counted(receivers []Receiver, counts []persist.DeliveryCount) {
	sums := map[string]persist.DeliveryCount{}
	for _, r := range receivers {
		sum := sums[r.host]
		for _, c := range counts {
			if c.URL == r.URL {
				sum.Waiting += c.Waiting
				sum.Dead += c.Dead
				sum.Oldest = max(sum.Oldest, c.Oldest)
			}
		}
		sums[r.host] = sum
	}
	for host, sum := range sums {
		m.backlog.WithLabelValues(host).Set(float64(sum.Waiting))
		m.oldest.WithLabelValues(host).Set(sum.Oldest.Seconds())
		m.dead.WithLabelValues(host).Set(float64(sum.Dead))
	}
}
