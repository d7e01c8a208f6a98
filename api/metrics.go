package api

import (
	"strconv"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec

	mu     sync.RWMutex
	series map[series]prometheus.Observer // so that labels are looked up once
}

// series names one of the requests' series. There are as many as routes and
// statuses.
type series struct {
	method, route string
	status        int
}

func (m *metrics) observer(s series) prometheus.Observer {
	m.mu.RLock()
	o := m.series[s]
	m.mu.RUnlock()
	if o == nil {
		o = m.requests.WithLabelValues(s.method, s.route, strconv.Itoa(s.status))
		m.mu.Lock()
		defer m.mu.Unlock()
		m.series[s] = o
	}
	return o
}

func newMetrics(reg *prometheus.Registry) *metrics {
	return &metrics{
		registry: reg,
		series:   map[series]prometheus.Observer{},
		requests: promauto.With(reg).NewHistogramVec(prometheus.HistogramOpts{
			Name:    "holdfast_http_request_seconds",
			Help:    "Time to answer a request, by route and status.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method", "route", "status"}),
	}
}

// measure times every request. It answers errors itself, so that their status
// is known when it counts.
func (m *metrics) measure(fail fiber.ErrorHandler) fiber.Handler {
	return func(c *fiber.Ctx) error {
		start := time.Now()
		if err := c.Next(); err != nil {
			if err := fail(c, err); err != nil {
				return err
			}
		}
		m.observer(series{c.Route().Method, m.route(c), c.Response().StatusCode()}).Observe(time.Since(start).Seconds())
		return nil
	}
}

// route is the pattern of the route that answered. Whatever path of its own a
// client tried is "none": labels must stay few.
func (m *metrics) route(c *fiber.Ctx) string {
	status, route := c.Response().StatusCode(), c.Route().Path
	if status == fiber.StatusNotFound && route == "/" || status == fiber.StatusMethodNotAllowed {
		return "none"
	}
	return route
}

func (m *metrics) serve() fiber.Handler {
	return adaptor.HTTPHandler(promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
}
