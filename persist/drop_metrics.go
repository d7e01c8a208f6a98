package persist

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast/holdfast/engine"
)

// DropMetricsConfig configures a DropMetrics.
type DropMetricsConfig struct {
	// Engine has the counters. Required.
	Engine *engine.Engine
	// Store has the catalogue. Required.
	Store *Store
	// Drops is how many of the newest drops are shown. Defaults to 50.
	Drops int
	// MaxAge is for how long counters are shown again before Redis is asked anew,
	// however often somebody looks. Defaults to 2 s.
	MaxAge time.Duration
	// Timeout bounds what one look waits for. Defaults to 1 s.
	Timeout time.Duration
}

// DropMetrics shows the units of the newest drops as gauges: one call to Redis a
// look, and few labels however many drops there are. While Redis does not
// answer nothing is shown, since it would be wrong.
type DropMetrics struct {
	cfg   DropMetricsConfig
	units *prometheus.Desc
	total *prometheus.Desc

	mu     sync.Mutex
	newest []int64 // the drops
	listed time.Time
	stock  []*engine.Stock
	read   time.Time
}

// listAge is for how long a list of the newest drops is used.
const listAge = 10 * time.Second

// NewDropMetrics makes a DropMetrics.
func NewDropMetrics(cfg DropMetricsConfig) (*DropMetrics, error) {
	if cfg.Engine == nil || cfg.Store == nil {
		return nil, errors.New("persist: DropMetricsConfig.Engine and Store are required")
	}
	cfg.Drops = orDefault(cfg.Drops, 50)
	cfg.MaxAge = orDefault(cfg.MaxAge, 2*time.Second)
	cfg.Timeout = orDefault(cfg.Timeout, time.Second)
	return &DropMetrics{
		cfg:   cfg,
		units: prometheus.NewDesc("holdfast_drop_units", "Units of the newest drops, by where they are.", []string{"drop", "state"}, nil),
		total: prometheus.NewDesc("holdfast_drop_total_units", "All units of the newest drops.", []string{"drop"}, nil),
	}, nil
}

// Describe implements prometheus.Collector.
func (m *DropMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.units
	to <- m.total
}

// Collect implements prometheus.Collector.
func (m *DropMetrics) Collect(to chan<- prometheus.Metric) {
	for _, s := range m.look() {
		if s == nil {
			continue
		}
		drop := strconv.FormatInt(s.Drop, 10)
		gauge := func(d *prometheus.Desc, v int64, labels ...string) {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
		}
		gauge(m.units, s.Available, drop, "available")
		gauge(m.units, s.Held, drop, "held")
		gauge(m.units, s.Sold, drop, "sold")
		gauge(m.total, s.Total, drop)
	}
}

func (m *DropMetrics) look() []*engine.Stock {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if now.Sub(m.read) < m.cfg.MaxAge {
		return m.stock
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.cfg.Timeout)
	defer cancel()
	if now.Sub(m.listed) > listAge {
		m.list(ctx, now)
	}
	m.stock, m.read = nil, now // also where it fails: nobody asks a Redis that is away more often
	if stock, err := m.cfg.Engine.Stock(ctx, m.newest); err == nil {
		m.stock = stock
	}
	return m.stock
}

// list learns the newest drops; while Postgres is away those known stay.
func (m *DropMetrics) list(ctx context.Context, now time.Time) {
	drops, err := m.cfg.Store.ListDrops(ctx, ListQuery{Limit: m.cfg.Drops})
	if err != nil {
		return
	}
	m.newest, m.listed = m.newest[:0], now
	for _, d := range drops {
		m.newest = append(m.newest, d.ID)
	}
}
