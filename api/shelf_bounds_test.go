package api

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// landed is a view with an answer of so many bytes.
func landed(s *shelf, q query, bytes int) *view {
	v := &view{query: q}
	s.views.Add(q, v)
	f := &flight{done: make(chan struct{}), answer: &answer{body: make([]byte, bytes)}}
	s.begin(v, f, time.Now())
	s.land(v, f)
	return v
}

func (s *shelf) sum() (n int) {
	for _, v := range s.views.Values() {
		n += v.size()
	}
	return n
}

func TestShelfIsBounded(t *testing.T) {
	t.Parallel()
	s := newShelf(nil, nil, time.Second, prometheus.NewRegistry())
	check := func() {
		t.Helper()
		if sum := s.sum(); s.bytes != sum || sum > maxViewBytes || s.views.Len() > maxViews {
			t.Fatalf("%d views of %d bytes, counted as %d", s.views.Len(), sum, s.bytes)
		}
	}
	for n := range 2 * maxViews {
		landed(s, query{limit: 1, before: int64(n)}, 100)
		check()
	}
	if s.views.Len() != maxViews {
		t.Errorf("%d views are kept, want %d", s.views.Len(), maxViews)
	}
	for n := range 100 {
		landed(s, query{limit: 2, before: int64(n)}, 1<<20)
		check()
	}
	if _, ok := s.views.Peek(query{limit: 2, before: 99}); !ok {
		t.Error("the newest is not kept")
	}
	// One that has become larger, one that is larger than all may be, and one that
	// was put away while its flight was under way.
	v := landed(s, query{drop: 1}, 10)
	for _, bytes := range []int{1 << 20, 10, maxViewBytes + 1, 10} {
		f := &flight{done: make(chan struct{}), answer: &answer{body: make([]byte, bytes)}}
		s.begin(v, f, time.Now())
		s.land(v, f)
		check()
	}
	// What failed leaves nothing behind.
	failed := &view{query: query{drop: 2}}
	s.views.Add(failed.query, failed)
	f := &flight{done: make(chan struct{}), err: errBrokeOff}
	s.begin(failed, f, time.Now())
	s.land(failed, f)
	if _, ok := s.views.Peek(failed.query); ok {
		t.Error("a view is kept that never had an answer")
	}
	check()
}

// TestWhatIsDue says for each kind of change what is read again, and when.
func TestWhatIsDue(t *testing.T) {
	t.Parallel()
	const drop, other, shares = 7, 8, 7 + slots
	read := time.Now()
	at := func(d time.Duration) time.Time { return read.Add(d) }
	never := time.Time{}
	for what, test := range map[string]struct {
		change      func(c *changes)
		rows, stock time.Time
	}{
		"nothing":                  {func(*changes) {}, at(keep), at(keep)},
		"an own hold":              {func(c *changes) { c.stockChanged(drop) }, at(keep), never},
		"an own hold of another":   {func(c *changes) { c.stockChanged(other) }, at(keep), at(keep)},
		"of one in the same slot":  {func(c *changes) { c.stockChanged(shares) }, at(keep), never},
		"a purchase in Postgres":   {func(c *changes) { c.rowChanged(drop) }, never, at(keep)},
		"of another":               {func(c *changes) { c.rowChanged(other) }, at(keep), at(keep)},
		"an own drop":              {func(c *changes) { c.listChanged() }, never, at(keep)},
		"a hold elsewhere":         {func(c *changes) { c.hear(engine.Event{Drop: drop}, read) }, at(keep), at(tick)},
		"of another elsewhere":     {func(c *changes) { c.hear(engine.Event{Drop: other}, read) }, at(keep), at(keep)},
		"here and elsewhere":       {func(c *changes) { c.hear(engine.Event{Drop: drop}, read); c.stockChanged(drop) }, at(keep), never},
		"a drop elsewhere":         {func(c *changes) { c.hear(engine.Event{Drop: other, Reason: engine.ReasonOpened}, read) }, at(tick), at(keep)},
		"a drop some time earlier": {func(c *changes) { c.hear(engine.Event{Drop: other, Reason: engine.ReasonOpened}, read.Add(-listing)) }, at(keep), at(keep)},
		"an id that cannot be":     {func(c *changes) { c.hear(engine.Event{Drop: -1}, read) }, at(keep), at(keep)},
	} {
		var c changes
		c.stockChanged(drop)
		c.rowChanged(drop)
		c.listChanged()
		c.hear(engine.Event{Drop: drop}, read)
		v := &view{query: query{limit: 1}, rowsAs: c.moment, rowsAt: read}
		v.shown = []shown{{row: persist.Drop{ID: drop}, stockAs: c.moment, stockAt: read}}
		test.change(&c)
		if rows, stock := c.rowsDue(v), c.stockDue(&v.shown[0]); !rows.Equal(test.rows) || !stock.Equal(test.stock) {
			t.Errorf("after %s the rows are due after %v, the stock after %v; want %v, %v",
				what, rows.Sub(read), stock.Sub(read), test.rows.Sub(read), test.stock.Sub(read))
		}
		first := test.rows
		if test.stock.Before(first) {
			first = test.stock
		}
		if due := c.due(v); !due.Equal(first) {
			t.Errorf("after %s the view is due after %v, want %v", what, due.Sub(read), first.Sub(read))
		}
	}
}
