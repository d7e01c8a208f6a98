package api

import (
	"time"

	"github.com/holdfast/holdfast/engine"
)

// What GETs show may be as old as this, and no older:
const (
	// keep is how long what was read is good when nothing is heard: the feed of
	// events may be silent because it is lost, and a hand that changes a drop in
	// Redis itself tells nobody. An answer is at most twice as old.
	keep = 500 * time.Millisecond
	// tick is how long it is good once a change by somebody else was heard.
	tick = 50 * time.Millisecond
	// listing is how long after its opening a drop of another instance may take
	// to stand in the catalogue.
	listing = 100 * time.Millisecond
)

// changes knows what has changed since a moment. Its owner's lock guards it.
//
// Changes that this instance has acknowledged count at once: who made one sees it
// in whatever is answered after. Drops share slots, so that many drops and many
// changes take no memory; to share one means to be read once too often.
type changes struct {
	moment
	stock  [slots]uint64 // by drop: own changes of the stock
	rows   [slots]uint64 // by drop: own changes of the row
	lists  uint64        // own changes of which drops there are
	heard  [slots]uint64 // by drop: changes that events told of
	opened time.Time     // when an event told of a new drop, the last time
	terms  [slots]uint64 // by drop: changes of the terms that events told of
}

const slots = 4096

// moment orders readings and changes: one with a smaller number came earlier.
type moment struct {
	own   uint64 // changes that this instance has acknowledged
	heard uint64 // changes that events told of
}

func slot(drop int64) uint64 { return uint64(drop) % slots } //nolint:gosec // ids are positive

// stockChanged notes an own change of a drop's stock.
func (c *changes) stockChanged(drop int64) {
	c.own++
	c.stock[slot(drop)] = c.own
}

// rowChanged notes that somebody was told what a drop's row may not show yet.
func (c *changes) rowChanged(drop int64) {
	c.own++
	c.rows[slot(drop)] = c.own
}

// listChanged notes an own drop.
func (c *changes) listChanged() {
	c.own++
	c.lists = c.own
}

// hear notes an event, of this instance's changes too.
func (c *changes) hear(ev engine.Event, now time.Time) {
	c.moment.heard++
	c.heard[slot(ev.Drop)] = c.moment.heard
	if ev.Reason == engine.ReasonOpened {
		c.opened = now
	}
	if ev.Reason == engine.ReasonChanged {
		c.terms[slot(ev.Drop)] = c.moment.heard
	}
}

// stockDue is when a stock has to be read again.
func (c *changes) stockDue(s *shown) time.Time {
	switch at := slot(s.row.ID); {
	case s.stockAs.own < c.stock[at]:
		return time.Time{}
	case s.stockAs.heard < c.heard[at]:
		return s.stockAt.Add(tick)
	}
	return s.stockAt.Add(keep)
}

// rowsDue is when the rows of a view have to be read again.
func (c *changes) rowsDue(v *view) time.Time {
	list, heard := v.query.drop == 0, false
	if list && v.rowsAs.own < c.lists {
		return time.Time{}
	}
	for i := range v.shown {
		if v.rowsAs.own < c.rows[slot(v.shown[i].row.ID)] {
			return time.Time{}
		}
		heard = heard || v.rowsAs.heard < c.terms[slot(v.shown[i].row.ID)]
	}
	if heard {
		return v.rowsAt.Add(tick)
	}
	if list && v.rowsAt.Before(c.opened.Add(listing)) {
		return v.rowsAt.Add(tick)
	}
	return v.rowsAt.Add(keep)
}

// due is when anything of a view has to be read again.
func (c *changes) due(v *view) time.Time {
	due := c.rowsDue(v)
	for i := range v.shown {
		if at := c.stockDue(&v.shown[i]); at.Before(due) {
			due = at
		}
	}
	return due
}
