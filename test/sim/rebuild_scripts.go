package sim

import "slices"

// Terms are what a drop is opened with.
type Terms struct {
	Start, End, Life int64
	Limit            int32
	Sized            bool
	First            int32
	Total, Sold      [maxSizes]int32
}

// Openings, as open.lua answers.
const (
	Opened     = 1
	SameTerms  = 2
	OtherTerms = -1
)

// Open is open.lua behind its fence.
func (s *State) Open(drop int8, t *Terms) int {
	d := &s.Drops[drop]
	if d.Known {
		same := d.Start == t.Start && d.End == t.End && d.Life == t.Life && d.Limit == t.Limit && d.Sized == t.Sized
		for i := range t.Total {
			same = same && d.Pools[i].Total == t.Total[i]
		}
		if same {
			return SameTerms
		}
		return OtherTerms
	}
	*d = Drop{
		Known: true, Sized: t.Sized, State: 'o', Start: t.Start, End: t.End, Life: t.Life, Limit: t.Limit,
		Seq: t.First - 1, Version: 3*int64(t.First) - 2, Receipts: d.Receipts[:0], Idem: d.Idem[:0],
	}
	for i := range t.Total {
		d.Pools[i] = Pool{Total: t.Total[i], Available: t.Total[i] - t.Sold[i], Sold: t.Sold[i]}
	}
	return Opened
}

// Restore is restore.lua behind its fence: purchases of one drop.
func (s *State) Restore(drop int8, purchases []Record) (restored, odd int) {
	d := s.drop(drop)
	if d == nil {
		return 0, 0
	}
	for _, p := range purchases {
		if r := d.receipt(p.Seq); r != nil {
			if r.Kind != Purchased {
				odd++
			}
			continue
		}
		pool := d.pool(p.Size)
		if pool == nil {
			odd++
			continue
		}
		if at := s.member(drop, p.Seq); at >= 0 && s.Deadlines[at].Hold == p.Hold {
			pool.Held--
			s.Deadlines = slices.Delete(s.Deadlines, at, at+1)
		} else {
			pool.Available--
			if d.Limit > 0 {
				d.Buyers[p.User]++
			}
		}
		pool.Sold++
		d.Receipts = append(d.Receipts, p)
		restored++
	}
	if restored > 0 {
		d.Version++
	}
	return restored, odd
}

// uncounted is the number of receipts that nobody has counted.
const uncounted = -1

// Level is level.lua behind its fence, given what was counted of each size.
// short says for each size by how many units holds and sales exceed the stock:
// then nothing was written, unless forced.
func (s *State) Level(drop int8, floor int32, held, sold [maxSizes]int32, force bool) (changed bool, short [maxSizes]int32, ok bool) {
	d := s.drop(drop)
	if d == nil {
		return false, short, true
	}
	seq, ok := max(d.Seq, floor), true
	pools := d.Pools
	for i := range pools {
		p := &pools[i]
		p.Held = held[i]
		if sold[i] != uncounted {
			p.Sold = sold[i]
		}
		p.Available = p.Total - p.Held - p.Sold
		if p.Available < 0 {
			short[i], ok = -p.Available, false
		}
		changed = changed || *p != d.Pools[i]
	}
	if (!ok && !force) || (!changed && seq == d.Seq) {
		return changed, short, ok
	}
	d.Version++
	if seq > d.Seq {
		d.Version = max(d.Version, 3*int64(seq)+1)
	}
	d.Seq, d.Pools = seq, pools
	return changed, short, ok
}

// held counts the members of a drop, by pool.
func (s *State) held(drop int8) (held [maxSizes]int32) {
	d := s.drop(drop)
	for i := range s.Deadlines {
		if m := &s.Deadlines[i]; m.Drop == drop && d != nil {
			size := m.Size
			if !d.Sized {
				size = 0
			}
			held[size]++
		}
	}
	return held
}
