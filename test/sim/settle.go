package sim

import "slices"

// Codes of a settlement, as settle.lua numbers them.
const (
	Settled          = 1
	SettledBefore    = 2
	EndedOtherwise   = 3
	SettleLapsed     = -1
	SettleNotIssued  = -2
	SettleNoDrop     = -3
	SettleCorrupt    = -4
	settleEntryLimit = 100
)

// Settlement is the answer about one hold.
type Settlement struct {
	Code   int32
	Record Record
}

// Settle is settle.lua behind its fence, for one kind: Purchased or Cancelled.
func (s *State) Settle(g *Guards, now int64, drop int8, kind byte, seqs []int32, out []Settlement) {
	d := s.drop(drop)
	entry := int64(0)
	for i, seq := range seqs {
		if d == nil {
			out[i] = Settlement{Code: SettleNoDrop}
			continue
		}
		out[i] = s.end(g, d, drop, now, kind, seq)
		if out[i].Code == Settled {
			if entry == 0 {
				entry = s.entry(now)
			}
			s.Ledger = append(s.Ledger, Filed{Entry: entry, Record: out[i].Record})
		}
	}
	if entry != 0 {
		d.Version++
	}
}

func (s *State) end(g *Guards, d *Drop, drop int8, now int64, kind byte, seq int32) Settlement {
	if r := d.receipt(seq); r != nil {
		if r.Kind == kind {
			return Settlement{SettledBefore, *r}
		}
		return Settlement{EndedOtherwise, *r}
	}
	at := s.member(drop, seq)
	if at < 0 || s.Deadlines[at].Keyless || (s.Deadlines[at].Deadline <= now && !g.NoDeadline) {
		if seq < 1 || seq > d.Seq {
			return Settlement{Code: SettleNotIssued}
		}
		return Settlement{Code: SettleLapsed}
	}
	h := s.Deadlines[at].Hold
	pool := d.pool(h.Size)
	if pool == nil || pool.Held < 1 {
		return Settlement{Code: SettleCorrupt}
	}
	pool.Held--
	if kind == Purchased {
		pool.Sold++
	} else {
		pool.Available++
		d.giveBack(h.User)
	}
	if g.NoSettleZrem {
		s.Deadlines[at].Keyless = true
	} else {
		s.Deadlines = slices.Delete(s.Deadlines, at, at+1)
	}
	r := Record{h, now, kind}
	if !g.NoReceipt {
		d.Receipts = append(d.Receipts, r)
	}
	return Settlement{Settled, r}
}

func (d *Drop) giveBack(user int8) {
	if d.Limit > 0 {
		d.Buyers[user] = max(0, d.Buyers[user]-1)
	}
}
