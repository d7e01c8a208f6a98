package live

import (
	"container/list"
	"reflect"
	"slices"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// maxSales is how many purchases of a drop are told one by one in a round.
const maxSales = 20

// board is the newest state of every drop, and what of it has not been told.
// Its owner's lock guards it.
type board struct {
	drops map[int64]*entry
	// told has the entries that were told of, the latest round at the back, so
	// that who missed rounds finds what changed without a look at the rest.
	told *list.List
	// dirty are the entries with something to tell.
	dirty map[int64]*entry
	// stale are drops whose stock has to be read: events of them were missed.
	stale map[int64]bool
	// sold are drops whose newest buyers have to be read, with the tries left.
	sold map[int64]int
	// changed are drops whose row has to be read: their terms were changed.
	changed map[int64]bool
	// turnedBack says that Redis has gone back to an older state: clients have to
	// begin anew, or they would take all that follows for old.
	turnedBack bool
}

// entry is one drop on the board.
type entry struct {
	stock engine.Stock
	// counted is the version at which each of stock.Sizes was counted: an event
	// names only the sizes that changed, so each is as new as its own count.
	counted []int64
	stateAt int64 // likewise, of stock.State
	known   bool  // the stock has been read, so that all sizes are there
	row     *persist.Drop
	since   time.Time // when the board first had it
	gap     time.Time // when events were found missing; zero once the stock was read

	// Not told yet:
	stockChanged, rowChanged bool
	announced                bool // drop_created was sent, or the drop was there at first
	reason                   engine.Reason
	waits                    time.Time // when the oldest change happened, by Redis's clock
	sales                    []engine.Sale
	moreSales                int

	heard    int64 // the version of the newest event
	lastSale int64 // the newest purchase heard of
	late     lateness

	// As last told, for who missed it:
	stockTold, rowTold telling
	place              *list.Element // in board.told
}

// telling is what was told, and in which round.
type telling struct {
	round uint64
	frame []byte
	data  *stockData // of a stock_update
}

// toldIn is the round in which the drop was last told of.
func (e *entry) toldIn() uint64 { return max(e.stockTold.round, e.rowTold.round) }

// appendMissed appends what was told after the round seen, in that order, so
// that versions do not go back.
func (e *entry) appendMissed(frames []byte, seen uint64) []byte {
	first, second := e.rowTold, e.stockTold
	if first.round > second.round {
		first, second = second, first
	}
	for _, t := range []telling{first, second} {
		if t.round > seen {
			frames = append(frames, t.frame...)
		}
	}
	return frames
}

func newBoard() *board {
	return &board{
		drops: map[int64]*entry{}, told: list.New(), dirty: map[int64]*entry{},
		stale: map[int64]bool{}, sold: map[int64]int{}, changed: map[int64]bool{},
	}
}

// at is the drop's entry, made if need be.
func (b *board) at(drop int64) *entry {
	e := b.drops[drop]
	if e == nil {
		e = &entry{stock: engine.Stock{Drop: drop}, since: time.Now()}
		b.drops[drop] = e
		b.stale[drop] = true
	}
	return e
}

// salesTries is how often the newest buyers are read until the purchase that
// was heard of is among them: it has to reach Postgres first.
const salesTries = 20

// hear takes an event in. It is right about the sizes that it names, unless
// they are known from a later one.
func (b *board) hear(ev engine.Event, now time.Time) {
	e := b.at(ev.Drop)
	if ev.Reason == engine.ReasonChanged {
		b.changed[ev.Drop], b.stale[ev.Drop] = true, true // of its terms an event names the state alone
	}
	if ev.Version > e.heard { // also where a reading has overtaken it
		e.heard = ev.Version
		e.happened(ev, now)
		if len(ev.Purchases) > 0 {
			b.sold[ev.Drop], b.dirty[ev.Drop] = salesTries, e
		}
	}
	if ev.Version <= e.stock.Version {
		return
	}
	if ev.Version > e.stock.Version+1 {
		b.stale[ev.Drop] = true // those between were lost
		if e.gap.IsZero() {
			e.gap = now
		}
	}
	e.stock.Version = ev.Version
	for _, c := range ev.Sizes {
		e.count(c, ev.Version)
	}
	if ev.State != "" {
		e.stock.State, e.stateAt = ev.State, ev.Version
	}
	sum(&e.stock)
	if !e.stockChanged {
		e.waits = ev.At
	}
	e.reason, e.stockChanged = ev.Reason, true
	b.dirty[ev.Drop] = e
}

// happened notes what of an event is no state, but is told once.
func (e *entry) happened(ev engine.Event, now time.Time) {
	for _, sale := range ev.Purchases {
		if len(e.sales) < maxSales {
			e.sales = append(e.sales, sale)
		} else {
			e.moreSales++
		}
		e.lastSale = sale.Reservation
	}
	if ev.Reason == engine.ReasonExpired {
		e.late.note(ev.Late, now)
	}
}

// count notes how one size stood at a version.
func (e *entry) count(c engine.SizeCount, version int64) {
	i := slices.IndexFunc(e.stock.Sizes, func(have engine.SizeCount) bool { return have.Size == c.Size })
	if i < 0 {
		e.stock.Sizes, e.counted = append(e.stock.Sizes, c), append(e.counted, version)
		return
	}
	if e.counted[i] <= version {
		e.stock.Sizes[i], e.counted[i] = c, version
	}
}

// sum brings the drop's counts up to those of its sizes.
func sum(s *engine.Stock) {
	s.Total, s.Available, s.Held, s.Sold = 0, 0, 0, 0
	for _, c := range s.Sizes {
		s.Total += c.Total
		s.Available += c.Available
		s.Held += c.Held
		s.Sold += c.Sold
	}
}

// read takes in a drop's stock as it was read; nil if Redis does not have it.
// since is the version that the board had when the reading began: Redis cannot
// show an older one, unless it has lost what came after.
func (b *board) read(drop int64, s *engine.Stock, since int64) {
	e := b.drops[drop]
	if e == nil {
		return
	}
	if s == nil && e.row == nil {
		b.forget(drop) // nobody knows it
		return
	}
	if !b.stale[drop] {
		e.gap = time.Time{}
	}
	if s == nil {
		s = lost(*e.row)
	}
	fresh := *s
	counted := slices.Repeat([]int64{fresh.Version}, len(fresh.Sizes))
	if fresh.Version < since {
		b.turnedBack, e.heard, e.stateAt = true, fresh.Version, fresh.Version
	} else {
		for i, c := range fresh.Sizes {
			j := slices.IndexFunc(e.stock.Sizes, func(have engine.SizeCount) bool { return have.Size == c.Size })
			if j >= 0 && e.counted[j] > fresh.Version { // an event overtook the reading
				fresh.Sizes[i], counted[i] = e.stock.Sizes[j], e.counted[j]
			}
		}
		if e.stateAt > s.Version { // so was its state
			fresh.State = e.stock.State
		}
		fresh.Version = max(fresh.Version, e.stock.Version)
		sum(&fresh)
	}
	fresh.LastSeq, fresh.Change = 0, 0 // not kept up by events, so they would be no news
	if e.known && reflect.DeepEqual(e.stock, fresh) {
		return
	}
	e.stock, e.counted, e.known, e.stockChanged = fresh, counted, true, true
	b.dirty[drop] = e
}

// lost is a drop that Redis does not have: it sells nothing until it is opened
// again.
func lost(row persist.Drop) *engine.Stock {
	s := &engine.Stock{Drop: row.ID, State: engine.StatePaused, Start: row.Start, End: row.End, Hold: row.Hold, Limit: row.Limit}
	for _, size := range row.Sizes {
		s.Sizes = append(s.Sizes, engine.SizeCount{Size: size.Size, Total: size.Stock, Sold: size.Sold})
	}
	sum(s)
	return s
}

// list takes in a drop's row of the catalogue.
func (b *board) list(row persist.Drop) {
	e := b.at(row.ID)
	if slices.ContainsFunc(row.Buyers, func(by persist.Buyer) bool { return by.Purchase == e.lastSale }) {
		delete(b.sold, row.ID)
	}
	if e.row != nil && sameRow(*e.row, row) {
		return
	}
	e.row, e.rowChanged = &row, true
	b.dirty[row.ID] = e
}

// tried counts a reading of newest buyers for those drops whose last purchase
// was not among them: it may never come, where Postgres refused it.
func (b *board) tried(drops []int64) {
	for _, drop := range drops {
		if left, waits := b.sold[drop]; left > 1 {
			b.sold[drop] = left - 1
		} else if waits {
			delete(b.sold, drop)
		}
	}
}

// sameRow compares what the catalogue alone knows: stock is told by events.
func sameRow(a, b persist.Drop) bool {
	a.Sizes, b.Sizes, a.TotalStock, b.TotalStock = nil, nil, 0, 0
	a.Opened, b.Opened = time.Time{}, time.Time{}
	a.State, b.State, a.Change, b.Change = "", "", 0, 0
	return reflect.DeepEqual(a, b)
}

// trim forgets the drops below an id.
func (b *board) trim(least int64) {
	for drop := range b.drops {
		if drop < least {
			b.forget(drop)
		}
	}
}

func (b *board) forget(drop int64) {
	if e := b.drops[drop]; e != nil && e.place != nil {
		b.told.Remove(e.place)
	}
	delete(b.drops, drop)
	delete(b.dirty, drop)
	delete(b.stale, drop)
	delete(b.sold, drop)
	delete(b.changed, drop)
}

// keepBack is how long a drop is kept back of which too little is known: a new
// one until its row was read, so that drop_created is the first that is told of
// it; one with a gap until its stock was read, as some sizes are older than its
// version says.
const keepBack = time.Second

// shown says whether enough is known of the drop to show it.
func (e *entry) shown() bool {
	return e.known && (e.row != nil || time.Since(e.since) > keepBack)
}

// tellable says whether its state is of one moment, too.
func (e *entry) tellable() bool {
	return e.shown() && (e.gap.IsZero() || time.Since(e.gap) > keepBack)
}

// over says whether nothing can change any more for buyers.
func (e *entry) over(now time.Time) bool {
	ended := e.stock.State == engine.StateEnded || !e.stock.End.IsZero() && !now.Before(e.stock.End)
	return ended && e.stock.Held == 0
}

// lateness is the greatest delay of releases in the last 5 to 10 s.
type lateness struct {
	since    time.Time
	now, was time.Duration // of this span and the one before; negative: none
}

const latenessSpan = 5 * time.Second

func (l *lateness) roll(now time.Time) {
	switch passed := now.Sub(l.since); {
	case passed > 2*latenessSpan:
		l.since, l.now, l.was = now, -1, -1
	case passed > latenessSpan:
		l.since, l.was, l.now = now, l.now, -1
	}
}

func (l *lateness) note(late time.Duration, now time.Time) {
	l.roll(now)
	l.now = max(l.now, late)
}

// greatest is false if nothing was released lately.
func (l *lateness) greatest(now time.Time) (time.Duration, bool) {
	l.roll(now)
	late := max(l.now, l.was)
	return late, late >= 0
}
