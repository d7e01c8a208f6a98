package sim

// Refusals of a reservation, as reserve.lua numbers them.
const (
	DropNotFound        = -1
	NotStarted          = -2
	EndedRefusal        = -3
	Paused              = -4
	OutOfStock          = -5
	LimitReached        = -6
	SizeRequired        = -7
	UnknownSize         = -8
	IdempotencyConflict = -9
	Exhausted           = -10
	Overloaded          = -11
)

// Wish is one person's part of a batch.
type Wish struct {
	User, Size int8
	Key        int32 // 0: none
}

// Granted is the answer to a wish: a hold (Code > 0, Before if the key got it
// earlier), or a refusal.
type Granted struct {
	Code   int32
	Before bool
	Hold   Hold
}

// Limits of a reserve call.
type Limits struct {
	MaxSeq    int32
	MaxLedger int
}

// Reserve is reserve.lua behind its fence; out has one place for each wish.
func (s *State) Reserve(g *Guards, now int64, drop int8, limits Limits, wishes []Wish, out []Granted) {
	d := s.drop(drop)
	closed := int32(0)
	switch {
	case d == nil:
		for i := range wishes {
			out[i] = Granted{Code: DropNotFound}
		}
		return
	case d.State == 'p':
		closed = Paused
	case d.State != 'o' || (d.End > 0 && now >= d.End):
		closed = EndedRefusal
	case now < d.Start:
		closed = NotStarted
	case s.entries() >= limits.MaxLedger:
		closed = Overloaded
	}
	taken := false
	for i, w := range wishes {
		out[i] = s.grant(g, d, drop, now, closed, limits.MaxSeq, w)
		taken = taken || (out[i].Code > 0 && !out[i].Before)
	}
	if taken {
		d.Version++
	}
}

func (s *State) grant(g *Guards, d *Drop, drop int8, now int64, closed, maxSeq int32, w Wish) Granted {
	if w.Key != 0 {
		for i := range d.Idem {
			if d.Idem[i].Key != w.Key {
				continue
			}
			h := d.Idem[i].Hold
			if h.User != w.User || h.Size != w.Size {
				return Granted{Code: IdempotencyConflict}
			}
			return Granted{Code: h.Seq, Before: true, Hold: h}
		}
	}
	if closed != 0 {
		return Granted{Code: closed}
	}
	if d.Sized && w.Size == 0 {
		return Granted{Code: SizeRequired}
	}
	pool := d.pool(w.Size)
	switch {
	case pool == nil:
		return Granted{Code: UnknownSize}
	case pool.Available <= 0 && !g.NoStock:
		return Granted{Code: OutOfStock}
	case d.Limit > 0 && d.Buyers[w.User] >= d.Limit && !g.NoLimit:
		return Granted{Code: LimitReached}
	case d.Seq >= maxSeq:
		return Granted{Code: Exhausted}
	}
	d.Seq++
	pool.Available--
	pool.Held++
	h := Hold{Drop: drop, User: w.User, Size: w.Size, Seq: d.Seq, Created: now, Deadline: now + d.Life}
	s.hold(h)
	if d.Limit > 0 {
		d.Buyers[w.User]++
	}
	if w.Key != 0 && !g.NoIdem {
		d.Idem = append(d.Idem, IdemRecord{w.Key, h})
	}
	return Granted{Code: h.Seq, Hold: h}
}
