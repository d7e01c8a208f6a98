package engine

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	outcomes map[string]outcomeCounters // by call
	early    prometheus.Counter
	batch    prometheus.Histogram
	releases prometheus.Counter
	late     prometheus.Histogram
	orphans  prometheus.Counter
	memory   prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	outcomes := f.NewCounterVec(prometheus.CounterOpts{
		Name: "holdfast_engine_outcomes_total",
		Help: "Outcomes of reserve, purchase and cancel.",
	}, []string{"call", "outcome"})
	byCall := map[string]outcomeCounters{}
	for _, call := range []string{"reserve", "purchase", "cancel"} {
		c := outcomeCounters{ok: outcomes.WithLabelValues(call, "ok"), refused: outcomes.WithLabelValues(call, "refused")}
		for _, o := range outcomeNames {
			c.named = append(c.named, outcomes.WithLabelValues(call, o.name))
		}
		byCall[call] = c
	}
	return &metrics{
		outcomes: byCall,
		early: f.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_engine_early_refusals_total",
			Help: "Reserves that were refused without asking Redis.",
		}),
		batch: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "holdfast_engine_reserve_batch_size",
			Help:    "Requests that went in one reserve call.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64},
		}),
		releases: f.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_engine_released_total",
			Help: "Lapsed holds given back by this process.",
		}),
		late: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "holdfast_engine_release_late_seconds",
			Help:    "By how much the oldest hold of each release was past its deadline.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 60},
		}),
		orphans: f.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_engine_orphans_total",
			Help: "Lapsed holds that fit no held unit; each is in a dead-letter stream.",
		}),
		memory: f.NewGauge(prometheus.GaugeOpts{
			Name: "holdfast_redis_memory_used_ratio",
			Help: "Part of its maxmemory that the fullest Redis uses; 0 where none has one.",
		}),
	}
}

func (m *metrics) released(n, lateMS int64) {
	if n > 0 {
		m.releases.Add(float64(n))
		m.late.Observe(float64(lateMS) / 1000)
	}
}

// outcomeNames are the label values of the outcomes metric.
var outcomeNames = []struct {
	err  error
	name string
}{
	{ErrOutOfStock, "out_of_stock"},
	{ErrLimitReached, "limit_reached"},
	{ErrNotStarted, "not_started"},
	{ErrEnded, "ended"},
	{ErrPaused, "paused"},
	{ErrTooManyHolds, "too_many_holds"},
	{ErrCoolingDown, "cooling_down"},
	{ErrChallengeRequired, "challenge_required"},
	{ErrExpired, "expired"},
	{ErrCancelled, "cancelled"},
	{ErrCompleted, "completed"},
	{ErrOverloaded, "overloaded"},
	{ErrFenced, "fenced"}, // before unavailable, which may be its cause
	{ErrUnavailable, "unavailable"},
	{ErrCorrupt, "corrupt"},
}

// outcomeCounters are those of one call; named has one for each of outcomeNames.
type outcomeCounters struct {
	ok, refused prometheus.Counter
	named       []prometheus.Counter
}

func (m *metrics) outcome(call string, err error) {
	c := m.outcomes[call]
	if err == nil {
		c.ok.Inc()
		return
	}
	for i := range outcomeNames {
		if errors.Is(err, outcomeNames[i].err) {
			c.named[i].Inc()
			return
		}
	}
	c.refused.Inc()
}
