package engine_test

import (
	"errors"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast/holdfast/engine"
)

// drawChange draws a change that may be made or refused, or one that was sent before.
func (m *model) drawChange(r *rapid.T) engine.Change {
	c := engine.Change{Number: m.number + 1}
	if m.number > 0 && rapid.IntRange(0, 4).Draw(r, "again") == 0 {
		c.Number = m.number
	}
	c.State = rapid.SampledFrom([]engine.State{"", "", engine.StatePaused, engine.StateOpen}).Draw(r, "state")
	if n := rapid.Int64Range(0, 6).Draw(r, "new limit"); n > 0 {
		if n > 3 {
			n = engine.NoLimit
		}
		c.Limit = &n
	}
	for _, s := range m.drop.Sizes {
		if total := s.Stock + rapid.Int64Range(-3, 3).Draw(r, "units"); total != s.Stock && total >= 0 {
			c.Totals = append(c.Totals, engine.SizeStock{Size: s.Size, Stock: total})
		}
	}
	return c
}

// checkChange compares a decision with the model, and takes it over.
func (m *model) checkChange(r *rapid.T, after time.Time, c engine.Change, d engine.Decision, err error) {
	if !m.opened {
		if !errors.Is(err, engine.ErrDropNotFound) {
			r.Fatalf("change of a drop that is not open: %v", err)
		}
		return
	}
	if err != nil {
		r.Fatal(err)
	}
	if c.Number == m.number {
		if !d.Known {
			r.Fatalf("change %d was decided twice", c.Number)
		}
		return
	}
	m.number = c.Number
	m.lapse(after)
	leastAll, mostAll := m.taken(func(engine.Reservation) bool { return true })
	counted := c.Limit == nil || m.drop.Limit > 0
	mayMake, mayRefuse := counted || leastAll == 0, false
	for _, t := range c.Totals {
		least, most := m.taken(func(x engine.Reservation) bool { return !m.sized || x.Size == t.Size })
		mayMake = mayMake && least <= t.Stock
		mayRefuse = mayRefuse || most > t.Stock
	}
	switch {
	case d.Refusal == nil && mayMake:
	case errors.Is(d.Refusal, engine.ErrNotEnough) && mayRefuse:
		return
	case errors.Is(d.Refusal, engine.ErrNotCounted) && !counted && mostAll > 0:
		return
	default:
		r.Fatalf("change %+v: %v; taken %d … %d", c, d.Refusal, leastAll, mostAll)
	}
	if c.State != "" {
		m.paused = c.State == engine.StatePaused
	}
	if c.Limit != nil {
		m.drop.Limit = *c.Limit
	}
	for _, t := range c.Totals {
		m.drop.Sizes[slices.IndexFunc(m.drop.Sizes, func(s engine.SizeStock) bool { return s.Size == t.Size })].Stock = t.Stock
	}
}
