package live

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// truth is a drop as Redis has it.
type truth struct{ stock engine.Stock }

func newTruth() *truth {
	s := engine.Stock{Drop: 7, State: engine.StateOpen, Version: 1}
	for _, size := range []string{"S", "M", "L"} {
		s.Sizes = append(s.Sizes, engine.SizeCount{Size: size, Total: 1000, Available: 1000})
	}
	sum(&s)
	return &truth{s}
}

// change changes some sizes and gives the event of it.
func (tr *truth) change(t *rapid.T) engine.Event {
	tr.stock.Version++
	ev := engine.Event{Drop: 7, Version: tr.stock.Version, Reason: engine.ReasonReserved}
	first := rapid.IntRange(0, 2).Draw(t, "size")
	last := rapid.IntRange(first, 2).Draw(t, "to")
	for i := first; i <= last; i++ {
		c := &tr.stock.Sizes[i]
		c.Available = rapid.Int64Range(0, 1000).Draw(t, "available")
		c.Held = 1000 - c.Available
		ev.Sizes = append(ev.Sizes, *c)
	}
	sum(&tr.stock)
	return ev
}

func (tr *truth) read() *engine.Stock {
	s := tr.stock
	s.Sizes = slices.Clone(s.Sizes)
	return &s
}

// TestBoardConverges loses events, overtakes readings by events and events by
// readings: what was read after the last loss makes the board right again, and
// the version never goes back on the way.
func TestBoardConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr, b := newTruth(), newBoard()
		b.list(persist.Drop{ID: 7})
		b.read(7, tr.read(), 0)
		var reading *engine.Stock // taken, not yet on the board
		var since int64
		lostSince := false // an event was lost after the reading was taken
		right := true      // nothing was lost since the last reading that arrived
		version := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1:
				b.hear(tr.change(t), time.Now())
			case 2:
				tr.change(t)
				right, lostSince = false, true
			case 3:
				reading, since, lostSince = tr.read(), b.drops[7].stock.Version, false
			case 4:
				if reading != nil {
					b.read(7, reading, since)
					right = right || !lostSince
					reading = nil
				}
			}
			e := b.drops[7]
			if e.stock.Version < version {
				t.Fatalf("version %d after %d", e.stock.Version, version)
			}
			version = e.stock.Version
			if right && (!slices.Equal(e.stock.Sizes, tr.stock.Sizes) || version != tr.stock.Version || e.stock.Available != tr.stock.Available) {
				t.Fatalf("the board has %+v, Redis has %+v", e.stock, tr.stock)
			}
		}
		if b.turnedBack {
			t.Fatal("it took Redis to have gone back")
		}
	})
}

// TestBoardFindsGaps has a lost event noticed by the next one.
func TestBoardFindsGaps(t *testing.T) {
	b := newBoard()
	b.list(persist.Drop{ID: 7})
	tr := newTruth()
	b.read(7, tr.read(), 0)
	clear(b.stale)
	for _, version := range []int64{2, 3, 3, 2} {
		b.hear(engine.Event{Drop: 7, Version: version}, time.Now())
	}
	if len(b.stale) > 0 {
		t.Error("events in a row, and old ones, count as a gap")
	}
	b.hear(engine.Event{Drop: 7, Version: 5}, time.Now())
	if !b.stale[7] {
		t.Error("a gap was not noticed")
	}
}

// TestBoardKeepsGapsBack has an event of one size lost: what is known then is of
// two moments, and is not told until the stock was read.
func TestBoardKeepsGapsBack(t *testing.T) {
	b := newBoard()
	b.list(persist.Drop{ID: 7})
	tr := newTruth()
	b.read(7, tr.read(), 0)
	if !b.drops[7].tellable() {
		t.Fatal("a drop that is known is kept back")
	}
	clear(b.stale)
	b.hear(engine.Event{Drop: 7, Version: 3, Sizes: []engine.SizeCount{{Size: "S", Total: 1000, Available: 999, Held: 1}}}, time.Now())
	if e := b.drops[7]; e.tellable() || !e.shown() {
		t.Errorf("with a gap it is told: %v, shown: %v", e.tellable(), e.shown())
	}
	clear(b.stale) // it is being read
	tr.stock.Version = 3
	b.read(7, tr.read(), 3)
	if !b.drops[7].tellable() {
		t.Error("it is kept back after the gap was filled")
	}
	b.hear(engine.Event{Drop: 7, Version: 9}, time.Now().Add(-2*keepBack))
	if !b.drops[7].tellable() {
		t.Error("it is kept back for ever")
	}
}

// TestBoardForgets has Redis and the catalogue not know a drop.
func TestBoardForgets(t *testing.T) {
	b := newBoard()
	b.hear(engine.Event{Drop: 7, Version: 1, Purchases: []engine.Sale{{Reservation: 1, User: 1}}}, time.Now())
	b.drops[7].place = b.told.PushBack(b.drops[7])
	b.read(7, nil, 0)
	if len(b.drops)+len(b.dirty)+len(b.stale)+len(b.sold)+b.told.Len() != 0 {
		t.Errorf("something of it is left: %+v", b)
	}
}

// TestBoardHearsOvertakenSales has a reading of the stock overtake the event of
// a purchase, which is told all the same.
func TestBoardHearsOvertakenSales(t *testing.T) {
	b := newBoard()
	b.list(persist.Drop{ID: 7})
	b.hear(engine.Event{Drop: 7, Version: 1, Reason: engine.ReasonOpened}, time.Now())
	b.read(7, &engine.Stock{Drop: 7, Version: 4, Sizes: []engine.SizeCount{{Total: 1, Sold: 1}}}, 1)
	for range 2 { // the second time it is old
		b.hear(engine.Event{Drop: 7, Version: 2, Reason: engine.ReasonReserved}, time.Now())
		b.hear(engine.Event{Drop: 7, Version: 3, Reason: engine.ReasonExpired, Late: time.Millisecond}, time.Now())
		b.hear(engine.Event{Drop: 7, Version: 4, Reason: engine.ReasonPurchased, Purchases: []engine.Sale{{Reservation: 5, User: 1}}}, time.Now())
	}
	e := b.drops[7]
	if len(e.sales) != 1 || e.lastSale != 5 || b.sold[7] == 0 || b.dirty[7] == nil {
		t.Errorf("sales %v, waited for %v", e.sales, b.sold)
	}
	if late, some := e.late.greatest(time.Now()); !some || late != time.Millisecond {
		t.Errorf("late by %v", late)
	}
	if e.stock.Version != 4 || e.stock.Sold != 1 {
		t.Errorf("the stock is %+v", e.stock)
	}
}

// TestBoardTurnsBack has Redis lose what the board knows.
func TestBoardTurnsBack(t *testing.T) {
	b := newBoard()
	b.list(persist.Drop{ID: 7, Sizes: []engine.SizeStock{{Stock: 10, Sold: 3}}})
	ahead := &engine.Stock{Drop: 7, State: engine.StateOpen, Version: 9, Sizes: []engine.SizeCount{{Total: 10, Available: 2, Held: 5, Sold: 3}}}
	sum(ahead)
	b.read(7, ahead, 0)
	behind := &engine.Stock{Drop: 7, State: engine.StateOpen, Version: 4, Sizes: []engine.SizeCount{{Total: 10, Available: 8, Sold: 2}}}
	sum(behind)
	b.read(7, behind, 9)
	if e := b.drops[7]; !b.turnedBack || e.stock.Version != 4 || e.stock.Available != 8 {
		t.Errorf("after a fail-over to an older state: %+v, turned back %v", e.stock, b.turnedBack)
	}
	b.turnedBack = false
	b.hear(engine.Event{Drop: 7, Version: 5, Sizes: []engine.SizeCount{{Total: 10, Available: 7, Held: 1, Sold: 2}}}, time.Now())
	if e := b.drops[7]; e.stock.Available != 7 {
		t.Errorf("it is deaf after that: %+v", e.stock)
	}
	// All data is gone: nothing is for sale, and what Postgres knows stays sold.
	for range 2 {
		b.read(7, nil, b.drops[7].stock.Version)
	}
	if e := b.drops[7]; e.stock.State != engine.StatePaused || e.stock.Available != 0 || e.stock.Sold != 3 {
		t.Errorf("after the loss of everything: %+v", e.stock)
	}
	b.turnedBack = false
	b.read(7, nil, b.drops[7].stock.Version)
	if b.turnedBack {
		t.Error("the same loss counts again")
	}
}

// TestBoardCountsSales tells the first purchases of a round one by one.
func TestBoardCountsSales(t *testing.T) {
	b := newBoard()
	for v := range int64(5) {
		sales := make([]engine.Sale, 7)
		for i := range sales {
			sales[i] = engine.Sale{Reservation: 100*v + int64(i), User: 1}
		}
		b.hear(engine.Event{Drop: 7, Version: v + 1, Reason: engine.ReasonPurchased, Purchases: sales}, time.Now())
	}
	if e := b.drops[7]; len(e.sales) != maxSales || e.moreSales != 35-maxSales || e.sales[0].Reservation != 0 || e.lastSale != 406 {
		t.Errorf("%d sales and %d more, the last is %d", len(e.sales), e.moreSales, e.lastSale)
	}
}

func TestBoardTrims(t *testing.T) {
	b := newBoard()
	for drop := range int64(10) {
		b.hear(engine.Event{Drop: drop + 1, Version: 1}, time.Now())
	}
	b.trim(6)
	if len(b.drops) != 5 || len(b.dirty) != 5 || b.drops[5] != nil || b.drops[6] == nil {
		t.Errorf("%d drops are left", len(b.drops))
	}
}

func TestLateness(t *testing.T) {
	var l lateness
	now := time.Unix(1_000_000, 0)
	if _, some := l.greatest(now); some {
		t.Error("something came late at the start")
	}
	l.note(30*time.Millisecond, now)
	l.note(10*time.Millisecond, now.Add(time.Second))
	l.note(20*time.Millisecond, now.Add(latenessSpan+time.Second))
	if late, some := l.greatest(now.Add(latenessSpan + time.Second)); !some || late != 30*time.Millisecond {
		t.Errorf("the greatest is %v", late)
	}
	if late, some := l.greatest(now.Add(2*latenessSpan + 2*time.Second)); !some || late != 20*time.Millisecond {
		t.Errorf("the greatest is %v a span later", late)
	}
	if late, some := l.greatest(now.Add(time.Hour)); some {
		t.Errorf("%v is remembered for ever", late)
	}
}

// TestBoardGivesUpOnBuyers has a purchase never reach Postgres.
func TestBoardGivesUpOnBuyers(t *testing.T) {
	b := newBoard()
	for drop := range int64(2) {
		b.hear(engine.Event{Drop: drop + 1, Version: 1, Reason: engine.ReasonPurchased, Purchases: []engine.Sale{{Reservation: 5, User: 1}}}, time.Now())
	}
	b.list(persist.Drop{ID: 1, Buyers: []persist.Buyer{{Purchase: 5}}})
	if _, waits := b.sold[1]; waits {
		t.Error("a purchase that has arrived is waited for")
	}
	tries := 0
	for ; len(b.sold) > 0 && tries < 100; tries++ {
		b.list(persist.Drop{ID: 2})
		b.tried([]int64{1, 2})
	}
	if tries != salesTries {
		t.Errorf("given up after %d readings", tries)
	}
}
