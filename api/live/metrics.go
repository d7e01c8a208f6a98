package live

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	lag       prometheus.Histogram
	rounds    prometheus.Counter
	roundTime prometheus.Histogram
	skipped   prometheus.Counter
	closed    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, d *door) *metrics {
	f := promauto.With(reg)
	for over, name := range map[transport]string{overWebSocket: "websocket", overSocketIO: "socketio"} {
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "holdfast_live_clients", Help: "Connected clients.", ConstLabels: prometheus.Labels{"transport": name},
		}, func() float64 { return float64(d.count(over)) })
	}
	m := &metrics{
		lag: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "holdfast_live_lag_seconds",
			Help:    "Time from a change in Redis to the start of the round that tells it; of the oldest change of each drop and round.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2, 5},
		}),
		rounds: f.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_live_rounds_total", Help: "Rounds told to the clients.",
		}),
		roundTime: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "holdfast_live_round_seconds",
			Help:    "Time from the start of a round until all but a twentieth of the waiting clients had been told.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .25, .5, 1},
		}),
		skipped: f.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_live_skipped_rounds_total", Help: "Rounds that slow clients missed; they were told the newest state later.",
		}),
		closed: f.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_live_closed_total", Help: "Connections that the server closed, by reason.",
		}, []string{"reason"}),
	}
	for _, reason := range []string{"slow", "flood", "too_big", "silent", "shutdown", "malformed", "unjoined", "absent"} {
		m.closed.WithLabelValues(reason) // shown from the start, as zero
	}
	return m
}
