package api

import (
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/holdfast/holdfast/engine"
)

// shelf keeps the answers to GETs of drops ready, as bytes: as long as nothing
// that one shows has changed, to look costs neither Redis nor Postgres anything.
// changes says when something has to be read again. That is done by flights: of
// all who want the same, one reads, and the others get what it has read.
type shelf struct {
	catalogue *catalogue
	engine    *engine.Engine
	timeout   time.Duration // of one flight
	metrics   *shelfMetrics

	mu      sync.Mutex
	changes changes
	views   *simplelru.LRU[query, *view]
	bytes   int // of the views' bodies
}

// What is kept at most, of what was asked for last. What a view is made of
// takes about three times its body.
const (
	maxViews     = 4096
	maxViewBytes = 16 << 20
)

// errBrokeOff is what those get who waited for a flight that ended in a panic.
var errBrokeOff = errors.New("the reading of drops broke off")

func newShelf(k *catalogue, e *engine.Engine, timeout time.Duration, reg prometheus.Registerer) *shelf {
	s := &shelf{catalogue: k, engine: e, timeout: timeout, metrics: newShelfMetrics(reg)}
	// Its only error is a size below one.
	s.views, _ = simplelru.NewLRU(maxViews, func(_ query, v *view) { s.bytes -= v.size() })
	return s
}

// get answers a query with what the stores had at most twice keep ago, and with
// every change that this instance had acknowledged before.
func (s *shelf) get(q query) (*answer, error) {
	s.mu.Lock()
	now := time.Now()
	v, ok := s.views.Get(q)
	if !ok {
		v = &view{query: q}
		s.views.Add(q, v)
	}
	if s.good(v, now) {
		ready := v.answer
		s.mu.Unlock()
		return ready, nil
	}
	f := v.flight
	switch {
	case f == nil:
		f = &flight{done: make(chan struct{})}
		s.begin(v, f, now)
		s.mu.Unlock()
		s.fly(v, f)
	case f.as.own == s.changes.own && now.Sub(f.began) < keep:
		s.mu.Unlock()
		<-f.done
	case v.next == nil:
		before := f
		f = &flight{done: make(chan struct{})}
		v.next = f
		s.mu.Unlock()
		<-before.done // which has begun this one
		s.fly(v, f)
	default:
		f = v.next
		s.mu.Unlock()
		<-f.done
	}
	return f.answer, f.err
}

// good says whether a view's answer may be given.
func (s *shelf) good(v *view, now time.Time) bool {
	if v.answer == nil {
		return false
	}
	if v.as != s.changes.moment {
		v.as, v.until = s.changes.moment, s.changes.due(v)
	}
	return now.Before(v.until)
}

func (s *shelf) begin(v *view, f *flight, now time.Time) {
	f.as, f.began, v.flight = s.changes.moment, now, f
}

// land hands out what the flight has read, and begins the next.
func (s *shelf) land(v *view, f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	current, ok := s.views.Peek(v.query)
	kept := ok && current == v
	if f.err == nil {
		if kept {
			s.bytes += len(f.answer.body) - v.size()
		}
		v.answer, v.shown, v.rowsAs, v.rowsAt = f.answer, f.shown, f.rowsAs, f.rowsAt
		v.as, v.until = s.changes.moment, s.changes.due(v)
		for s.bytes > maxViewBytes {
			s.views.RemoveOldest()
		}
	} else if kept && v.answer == nil && v.next == nil {
		s.views.Remove(v.query) // there may be no such drop
	}
	v.flight = nil
	if next := v.next; next != nil {
		v.next = nil
		s.begin(v, next, time.Now())
	}
	close(f.done)
}

// did notes what a call that changes the stock of a drop came to. It is called
// before the caller is told, so that who was told finds it shown.
func (s *shelf) did(drop int64, err error) {
	if err != nil && !errors.Is(err, engine.ErrUnavailable) {
		return // a refusal changes nothing
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes.stockChanged(drop)
}

// created notes that a drop was created here.
func (s *shelf) created() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes.listChanged()
}

// confirmed notes that somebody is told of a purchase that Postgres has.
func (s *shelf) confirmed(drop int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes.rowChanged(drop)
}

// hear notes an event of the feed.
func (s *shelf) hear(ev engine.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes.hear(ev, time.Now())
}

type shelfMetrics struct {
	postgres, redis, renderings prometheus.Counter
}

func newShelfMetrics(reg prometheus.Registerer) *shelfMetrics {
	f := promauto.With(reg)
	readings := f.NewCounterVec(prometheus.CounterOpts{
		Name: "holdfast_drop_readings_total",
		Help: "Readings of drops that GETs made of a store; the other GETs were answered from memory.",
	}, []string{"store"})
	return &shelfMetrics{
		postgres: readings.WithLabelValues("postgres"), redis: readings.WithLabelValues("redis"),
		renderings: f.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_drop_renderings_total", Help: "Answers to GETs of drops that were encoded anew.",
		}),
	}
}
