package sim

import (
	"cmp"
	"slices"
	"strconv"
)

// A world is small: what a script does to two drops, three sizes and eight
// people it does to more.
const (
	maxDrops = 3 // drop 0 is none
	maxSizes = 4 // size 0 is the empty name: the pool of a drop without sizes
	maxUsers = 9 // user 0 is nobody
)

// Hold is one held unit, as everywhere in Redis: hold key, deadlines, idem.
// Times are in ms.
type Hold struct {
	Drop, User, Size  int8
	Seq               int32
	Created, Deadline int64
}

// Kinds of a Record.
const (
	Purchased = byte('p')
	Cancelled = byte('c')
	Expired   = byte('x')
)

// Record is the end of a hold: in the ledger, and as a receipt.
type Record struct {
	Hold
	Ended int64
	Kind  byte
}

// Pool is the stock of one size. Available + Held + Sold == Total.
type Pool struct{ Total, Available, Held, Sold int32 }

// Drop is a drop's hash with its buyers, receipts and idempotency records.
type Drop struct {
	Known            bool
	Sized            bool
	State            byte // 'o' open, 'p' paused, 'e' ended
	Start, End, Life int64
	Limit            int32
	Seq              int32
	Version          int64
	Pools            [maxSizes]Pool
	Buyers           [maxUsers]int32
	Receipts         []Record
	Idem             []IdemRecord
}

// IdemRecord is what an Idempotency-Key got.
type IdemRecord struct {
	Key  int32
	Hold Hold
}

// Member is one member of the deadlines, with whether its hold key was deleted.
// (A key whose deadline has passed is gone too.)
type Member struct {
	Hold
	Keyless bool
}

// Filed is one record of the ledger. Records of one entry stand together.
type Filed struct {
	Entry int64 // id in the stream: ms << 16 | n
	Owner int8  // consumer that was given it; 0: none
	Given int64 // when
	Record
}

// Meta is the partition's standing: the epoch admitted last and the server it
// was admitted on; a rebuild's claim and when it was made.
type Meta struct {
	Epoch   int64
	Server  int32
	Claim   int32
	Claimed int64
}

// State is a partition in Redis.
type State struct {
	Meta      Meta
	Drops     [maxDrops]Drop
	Deadlines []Member // by deadline, then as the text would be sorted
	Ledger    []Filed
	LastEntry int64
	Grain     int64 // ms of the clock that share an entry id; 0: one. Under load every ms has entries
	Dead      []Record
}

// clear makes the state that of an empty Redis, keeping its memory.
func (s *State) clear() {
	for i := range s.Drops {
		d := &s.Drops[i]
		*d = Drop{Receipts: d.Receipts[:0], Idem: d.Idem[:0]}
	}
	*s = State{Grain: s.Grain, Drops: s.Drops, Deadlines: s.Deadlines[:0], Ledger: s.Ledger[:0], Dead: s.Dead[:0]}
}

// copyFrom makes the state equal to another.
func (s *State) copyFrom(o *State) {
	s.Meta, s.LastEntry, s.Grain = o.Meta, o.LastEntry, o.Grain
	for i := range s.Drops {
		d, from := &s.Drops[i], &o.Drops[i]
		receipts, idem := append(d.Receipts[:0], from.Receipts...), append(d.Idem[:0], from.Idem...)
		*d = *from
		d.Receipts, d.Idem = receipts, idem
	}
	s.Deadlines = append(s.Deadlines[:0], o.Deadlines...)
	s.Ledger = append(s.Ledger[:0], o.Ledger...)
	s.Dead = append(s.Dead[:0], o.Dead...)
}

func (s *State) drop(id int8) *Drop {
	if id < 1 || int(id) >= maxDrops || !s.Drops[id].Known {
		return nil
	}
	return &s.Drops[id]
}

// pool is the pool that a unit of the size comes from; nil: unknown size.
func (d *Drop) pool(size int8) *Pool {
	if !d.Sized {
		size = 0
	} else if size < 1 || int(size) >= maxSizes || d.Pools[size].Total == 0 {
		return nil
	}
	return &d.Pools[size]
}

func (d *Drop) receipt(seq int32) *Record {
	for i := range d.Receipts {
		if d.Receipts[i].Seq == seq {
			return &d.Receipts[i]
		}
	}
	return nil
}

// member is the place of a hold among the deadlines, -1 if it is not there.
func (s *State) member(drop int8, seq int32) int {
	for i := range s.Deadlines {
		if m := &s.Deadlines[i]; m.Drop == drop && m.Seq == seq {
			return i
		}
	}
	return -1
}

// hold adds a member at its place.
func (s *State) hold(h Hold) {
	at, _ := slices.BinarySearchFunc(s.Deadlines, h, func(m Member, h Hold) int {
		if c := cmp.Compare(m.Deadline, h.Deadline); c != 0 {
			return c
		}
		return compareText(&m.Hold, &h)
	})
	s.Deadlines = slices.Insert(s.Deadlines, at, Member{Hold: h})
}

// compareText orders two holds of one deadline as Redis does: as text.
func compareText(a, b *Hold) int {
	if a.Drop != b.Drop {
		return cmp.Compare(a.Drop, b.Drop) // of one digit
	}
	if a.Seq == b.Seq {
		return 0
	}
	var x, y [12]byte
	return cmp.Compare(string(append(strconv.AppendInt(x[:0], int64(a.Seq), 10), ':')),
		string(append(strconv.AppendInt(y[:0], int64(b.Seq), 10), ':')))
}

// entry is the id that XADD gives the next entry.
func (s *State) entry(now int64) int64 {
	if s.Grain > 1 {
		now -= now % s.Grain
	}
	s.LastEntry = max(s.LastEntry+1, now<<16)
	return s.LastEntry
}

func (s *State) entries() int {
	n := 0
	for i := range s.Ledger {
		if i == 0 || s.Ledger[i].Entry != s.Ledger[i-1].Entry {
			n++
		}
	}
	return n
}
