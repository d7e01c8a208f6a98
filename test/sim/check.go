package sim

import "fmt"

// failf ends the world: a promise is broken.
func (w *World) failf(format string, args ...any) {
	if w.violation == "" {
		w.violation = fmt.Sprintf(format, args...)
	}
}

// toldHold is a reservation as somebody was told it, and how it ended as told.
type toldHold struct {
	Hold
	bought, cancelled bool
}

// toldPurchase is an acknowledged purchase and the instance that has to
// account for it.
type toldPurchase struct {
	Record
	instance int8
	life     int32
}

const maxTold = 128

// checkState holds a server's counters against what they count, after each step on it.
func (w *World) checkState(to int8) {
	s := &w.server[to]
	if s.Meta.Server != s.replid && !w.g.NoFence {
		return // fenced: a rebuild may be under way
	}
	for id := int8(1); int(id) <= w.drops; id++ {
		d := s.drop(id)
		if d == nil {
			continue
		}
		held := s.held(id)
		for size := range d.Pools {
			p := &d.Pools[size]
			switch {
			case p.Available+p.Held+p.Sold != p.Total:
				w.failf("conservation: drop %d size %d has %d + %d + %d of %d", id, size, p.Available, p.Held, p.Sold, p.Total)
			case (p.Available < 0 && !w.twoServed) || p.Held < 0:
				w.failf("drop %d size %d: available %d, held %d", id, size, p.Available, p.Held)
			case p.Held != held[size]:
				w.failf("drop %d size %d: held %d, and %d holds", id, size, p.Held, held[size])
			}
		}
		if d.Limit > 0 && !w.lossy {
			w.checkLimit(s, d, id)
		}
	}
	if len(s.Dead) > 0 {
		w.failf("a lapsed hold fits no held unit: it was given back before")
	}
}

func (w *World) checkLimit(s *server, d *Drop, id int8) {
	var n [maxUsers]int32
	for i := range s.Deadlines {
		if m := &s.Deadlines[i]; m.Drop == id {
			n[m.User]++
		}
	}
	for i := range d.Receipts {
		if r := &d.Receipts[i]; r.Kind == Purchased {
			n[r.User]++
		}
	}
	for user, n := range n {
		if n > d.Limit {
			w.failf("user %d has %d units of drop %d, the limit is %d", user, n, id, d.Limit)
		}
	}
}

// checkSettled: a hold that was acknowledged and has time left is neither gone
// nor somebody else's, and one that has none is not sold.
func (w *World) checkSettled(c *call, now int64) {
	if c.code == Settled && c.record.Ended >= c.record.Deadline {
		w.failf("hold %d was ended after its deadline", c.seq)
	}
	if w.lossy || c.code != SettleLapsed {
		return
	}
	for i := range w.holds {
		if h := &w.toldHold[i]; h.Drop == c.drop && h.Seq == c.seq && h.Deadline > now {
			w.failf("hold %d is gone %d ms before its deadline", h.Seq, h.Deadline-now)
		}
	}
}

// checkEpoch: nothing is acknowledged by an instance that has known better.
func (w *World) checkEpoch(in *instance, c *call) {
	if c.token.Epoch < in.newest && !w.g.TrustLate {
		w.failf("acknowledged in epoch %d by an instance that knew of %d", c.token.Epoch, in.newest)
	}
}

func (w *World) tellHold(b *buyer, h *Hold) {
	if b.told.Seq != 0 && b.told != *h && !w.lossy {
		w.failf("key %d got hold %d and then %d", b.key, b.told.Seq, h.Seq)
	}
	for i := range w.holds {
		if o := &w.toldHold[i]; o.Drop == h.Drop && o.Seq == h.Seq {
			if o.Hold != *h {
				w.failf("id %d was given to user %d and to user %d", h.Seq, o.User, h.User)
			}
			return
		}
	}
	if w.holds < maxTold {
		w.toldHold[w.holds] = toldHold{Hold: *h}
		w.holds++
	}
}

func (w *World) tellEnd(b *buyer, in *instance, r *Record) {
	if r.Hold != b.hold {
		w.failf("the id of user %d's hold %d ended that of user %d", b.hold.User, b.hold.Seq, r.User)
	}
	if b.known && b.receipt != *r && !w.lossy {
		w.failf("a repeated %c of %d got another receipt", r.Kind, r.Seq)
	}
	for i := range w.holds {
		if h := &w.toldHold[i]; h.Drop == r.Drop && h.Seq == r.Seq {
			h.bought, h.cancelled = h.bought || r.Kind == Purchased, h.cancelled || r.Kind == Cancelled
			if h.bought && h.cancelled && !w.lossy {
				w.failf("hold %d was bought and cancelled", h.Seq)
			}
		}
	}
	if r.Kind == Purchased && w.sales < maxTold {
		who := int8(0)
		if in == &w.instance[1] {
			who = 1
		}
		w.toldPurchase[w.sales] = toldPurchase{*r, who, in.life}
		w.sales++
	}
}

// checkEnd holds everything against everything, once all is healed and drained.
func (w *World) checkEnd() {
	s := &w.server[w.primary]
	if !w.quiet() {
		w.failf("not all is done after everything was healed: %s", w.unrest())
		return
	}
	for i := range w.sales {
		t := &w.toldPurchase[i]
		if p := find(w.pg.Purchases, t.Drop, t.Seq); p != nil && p.Hold == t.Hold {
			continue
		}
		switch {
		case !w.lossy:
			w.failf("acknowledged purchase %d is not in Postgres", t.Seq)
		case find(w.pg.Lost, t.Drop, t.Seq) != nil, find(w.pg.Refused, t.Drop, t.Seq) != nil:
		case w.instance[t.instance].life == t.life:
			w.failf("acknowledged purchase %d is neither in Postgres nor reported as lost", t.Seq)
		}
	}
	for id := int8(1); int(id) <= w.drops; id++ {
		d := s.drop(id)
		if d == nil {
			w.failf("drop %d is gone", id)
			return
		}
		for size := range d.Pools {
			p, sold := &d.Pools[size], w.pg.Sold[id][size]
			rows := int32(0)
			for i := range w.pg.Purchases {
				if r := &w.pg.Purchases[i]; r.Drop == id && w.poolSize(&r.Hold) == int8(size) {
					rows++
				}
			}
			switch {
			case sold > w.terms[id].Total[size]:
				w.failf("Postgres has sold %d of %d", sold, w.terms[id].Total[size])
			case rows != sold:
				w.failf("Postgres counts %d sold and has %d purchases", sold, rows)
			case (p.Sold != sold && !w.twoServed) || p.Held != 0:
				w.failf("drop %d size %d: Redis has sold %d and holds %d, Postgres has sold %d", id, size, p.Sold, p.Held, sold)
			}
		}
	}
}
