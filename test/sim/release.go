package sim

import "slices"

// Released is what release.lua answers.
type Released struct {
	Released int
	Next     int64 // ms until the next deadline to come; -1: none
	Late     int64
	Dead     int
}

// Release is release.lua behind its fence: the lapsed holds, at most most.
func (s *State) Release(g *Guards, now int64, most int) Released {
	var r Released
	due := 0
	for due < len(s.Deadlines) && due < most && s.Deadlines[due].Deadline <= now {
		due++
	}
	if due > 0 {
		var changed [maxDrops]bool
		entry := int64(0)
		for i := range due {
			h := s.Deadlines[i].Hold
			d := s.drop(h.Drop)
			var pool *Pool
			if d != nil {
				pool = d.pool(h.Size)
			}
			if pool == nil || pool.Held < 1 {
				s.Dead = append(s.Dead, Record{h, now, Expired})
				r.Dead++
				continue
			}
			pool.Available++
			pool.Held--
			d.giveBack(h.User)
			if r.Released%settleEntryLimit == 0 {
				entry = s.entry(now)
			}
			s.Ledger = append(s.Ledger, Filed{Entry: entry, Record: Record{h, now, Expired}})
			r.Released++
			r.Late = max(r.Late, now-h.Deadline)
			changed[h.Drop] = true
		}
		for i := range changed {
			if changed[i] {
				s.Drops[i].Version++
			}
		}
		if !g.NoReleaseZrem {
			s.Deadlines = slices.Delete(s.Deadlines, 0, due)
		}
	}
	r.Next = -1
	for i := range s.Deadlines {
		if d := s.Deadlines[i].Deadline; d > now {
			r.Next = d - now
			break
		}
	}
	return r
}
