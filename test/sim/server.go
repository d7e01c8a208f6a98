package sim

// Roles of a server.
const (
	rolePrimary = iota
	roleReplica
	rolePaused // was primary, frozen; commands wait in its sockets
	roleZombie // woken, still believes to be primary
	roleDown
)

// server is one Redis. What a replica has is what its primary had at some
// moment, and so is what a crash leaves where not every write is fsynced.
type server struct {
	State
	role     int
	replid   int32
	promoted bool // and not restarted since: Redis tells its former replication id
	skew     int64
	fenced   bool  // it was, when it was first claimed since it was served
	claimed  int32 // replication id then
	disk     State // with everysec: what was fsynced
}

func (w *World) newReplid() int32 {
	w.nextReplid++
	return w.nextReplid
}

// execute runs a call where it was sent.
func (w *World) execute(c *call) {
	if c.to == toPostgres {
		w.executePostgres(c)
		if w.tracing {
			w.sayf("%s", c)
		}
		return
	}
	s := &w.server[c.to]
	if s.role == roleReplica {
		c.outcome = outcomeAway // READONLY
		return
	}
	now := w.now + s.skew
	fenced := false
	switch c.kind {
	case callStanding:
		c.standing = s.Standing(s.replid)
		c.lossy = s.Meta.Epoch == 0 || s.promoted || w.everysec
	case callClaim:
		if c.n == 0 && s.claimed != s.replid {
			s.fenced, s.claimed = s.Meta.Server != s.replid, s.replid
		}
		c.code = int32(s.Claim(&w.g, s.replid, now, c.standing, c.token.Claim, claimPatience, c.n == 1))
	case callRead:
		fenced = s.Meta.Server != s.replid && !w.g.NoFence
		if !fenced {
			c.standing = s.Standing(s.replid)
			s.read(c, now)
		}
	case callLook:
		fenced = !w.g.UnfencedLook && !s.passes(&w.g, s.replid, c.token)
		if !fenced {
			c.code = 0
			if d := s.drop(c.drop); d != nil {
				if r := d.receipt(c.seq); r != nil && r.Kind == Purchased && r.Hold == c.record.Hold {
					c.code = 1
				}
			}
		}
	case callDone:
		fenced = !w.g.UnfencedDone && !s.passes(&w.g, s.replid, c.token)
		if !fenced {
			s.done(c)
		}
	default:
		fenced = !s.passes(&w.g, s.replid, c.token)
		if !fenced {
			w.change(s, c, now)
		}
	}
	if fenced {
		c.outcome = outcomeFenced
	}
	if w.tracing {
		w.sayf("%s", c)
	}
	if !fenced {
		w.checkState(c.to)
	}
}

// change runs a script that changes something, behind its fence.
func (w *World) change(s *server, c *call, now int64) {
	switch c.kind {
	case callReserve:
		wish := [1]Wish{{c.user, c.size, c.key}}
		var out [1]Granted
		s.Reserve(&w.g, now, c.drop, Limits{MaxSeq: 1 << 25, MaxLedger: w.maxLedger}, wish[:], out[:])
		c.code, c.hold = out[0].Code, out[0].Hold
	case callSettle, callEnd:
		seq := [1]int32{c.seq}
		var out [1]Settlement
		s.Settle(&w.g, now, c.drop, c.end, seq[:], out[:])
		c.code, c.record = out[0].Code, out[0].Record
		if c.kind == callSettle {
			w.checkSettled(c, now)
		}
	case callRelease:
		c.code = int32(s.Release(&w.g, now, c.n).Released)
	case callOpen:
		c.code = int32(s.Open(c.drop, &w.terms[c.drop]))
	case callRestore:
		var records [maxHand]Record
		for i := range c.n {
			records[i] = c.hand[i].Record
		}
		restored, _ := s.Restore(c.drop, records[:c.n])
		w.restored += restored
	case callHolds:
		w.listHolds(s, c)
	case callLevel:
		var ok bool
		var sold [maxSizes]int32
		for i := range sold {
			sold[i] = uncounted
		}
		_, c.held, ok = s.Level(c.drop, c.seq, c.held, sold, c.n == 1)
		c.code = 1
		if !ok {
			c.code = 0
		}
	case callAdmit:
		if !s.Admit(&w.g, s.replid, c.token, c.epoch) {
			c.outcome = outcomeFenced
			return
		}
		s.claimed = 0
		if c.to != w.primary && s.fenced {
			// Nobody can tell an old primary that was fenced from a new one: both are served.
			w.twoServed = true
		}
	default:
		panic("no script for " + callNames[c.kind])
	}
}

// read is XREADGROUP, or XAUTOCLAIM, with the standing in one step.
// c.n: 0 new entries, 1 this consumer's own, 2 those of others too.
func (s *State) read(c *call, now int64) {
	mode := c.n
	c.n = 0
	for i := 0; i < len(s.Ledger); {
		f := &s.Ledger[i]
		end := i + 1
		for end < len(s.Ledger) && s.Ledger[end].Entry == f.Entry {
			end++
		}
		wanted := (mode == 0 && f.Owner == 0) || (mode == 1 && f.Owner == c.user) ||
			(mode == 2 && f.Owner != 0 && f.Owner != c.user && now-f.Given >= claimIdle)
		if wanted {
			if c.n+end-i > maxHand {
				return
			}
			for k := i; k < end; k++ {
				s.Ledger[k].Owner, s.Ledger[k].Given = c.user, now
				c.hand[c.n] = s.Ledger[k]
				c.n++
			}
		}
		i = end
	}
}

// done takes entries off the ledger.
func (s *State) done(c *call) {
	kept := s.Ledger[:0]
	for _, f := range s.Ledger {
		gone := false
		for i := range c.n {
			gone = gone || c.hand[i].Entry == f.Entry
		}
		if !gone {
			kept = append(kept, f)
		}
	}
	s.Ledger = kept
}

func (w *World) executePostgres(c *call) {
	p := &w.pg
	if p.Down {
		c.outcome = outcomeAway
		return
	}
	switch c.kind {
	case callCommit:
		var twice bool
		c.outcome, twice = p.commit(&w.g, c.epoch, c.hand[:c.n])
		if twice {
			w.failf("two purchases under one id")
		}
	case callRefuse:
		r := &c.hand[0].Record
		if find(p.Refused, r.Drop, r.Seq) == nil {
			p.Refused = append(p.Refused, *r)
			if !w.twoServed {
				w.failf("a purchase was refused: the last unit was sold twice")
			}
		}
	case callHistory:
		w.history(c)
	case callBump:
		p.Epoch++
		c.epoch, p.Raised = p.Epoch, w.now
	case callFloor:
		c.seq = p.raise(&w.g, c.drop, c.seq)
	case callEpochs:
		c.epoch, c.standing.Epoch, c.code = p.Epoch, p.Admitted, 0
		if w.now-p.Raised > raisePatience || w.healing || w.g.HastyRebuild {
			c.code = 1
		}
	case callAdmitted:
		p.Admitted = max(p.Admitted, c.epoch)
	case callFind:
		c.code = 0
		if r := find(p.Purchases, c.drop, c.seq); r != nil && r.Hold == c.record.Hold {
			c.code = 1
		}
	case callReport:
		if find(p.Lost, c.drop, c.seq) == nil {
			p.Lost = append(p.Lost, c.record)
		}
	default:
		panic("no transaction for " + callNames[c.kind])
	}
}
