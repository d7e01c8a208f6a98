package sim

// rebuilder watches the partition and, where it is fenced, sets it right from
// what Postgres knows: claim, new epoch; for each drop open, put back, end, count, level; admit.
type rebuilder struct {
	wait     uint32
	state    int
	to       int8
	seen     Standing
	server   int32 // replication id
	renewed  int64
	claim    int32
	epoch    int64
	lossy    bool
	drop     int8
	at       int
	floor    int32
	seq      int32 // in Redis
	suspects bool  // somebody was fenced

	purchases []Record // of the drop, in Postgres
	ended     []Record
	holds     []Hold // of the drop, in Redis
	revoke    int32
	force     bool // nothing is left to revoke
}

const (
	rebuilderLooks = iota
	rebuilderCompares
	rebuilderRepairs
	rebuilderClaims
	rebuilderBumps
	rebuilderReads
	rebuilderOpens
	rebuilderRestores
	rebuilderReleases
	rebuilderCounts
	rebuilderEnds
	rebuilderRaises
	rebuilderLevels
	rebuilderRechecks
	rebuilderAdmits
	rebuilderRecords
)

// claimPatience is how long a silent claim keeps others away, in ms.
const claimPatience = 40

// raisePatience is how long a rebuild may take from its number to the end, in
// ms, before others think that it is dead.
const raisePatience = 1000

func (w *World) rebuild(i int) {
	in := &w.instance[i]
	x := &in.rebuilder
	c := call{to: x.to, drop: x.drop, token: Token{Server: x.server, Claim: x.claim}, epoch: x.epoch}
	switch x.state {
	case rebuilderLooks:
		if !x.suspects && !w.healing && !w.rng.one(4) {
			return
		}
		if in.target != w.primary && (w.healing || w.server[in.target].role != roleZombie || w.rng.one(24)) {
			w.sayf("instance %d hears that server %d is the primary", i, w.primary)
			in.target = w.primary
		}
		x.to = w.serverFor(in)
		c = call{kind: callStanding, to: x.to}
	case rebuilderCompares, rebuilderRechecks:
		c = call{kind: callEpochs, to: toPostgres}
	case rebuilderRepairs, rebuilderRecords:
		c = call{kind: callAdmitted, to: toPostgres, epoch: x.epoch}
	case rebuilderClaims:
		c.kind, c.standing = callClaim, x.seen
	case rebuilderBumps:
		c = call{kind: callBump, to: toPostgres}
	case rebuilderReads:
		c = call{kind: callHistory, to: toPostgres, drop: x.drop}
	case rebuilderOpens:
		c.kind = callOpen
	case rebuilderRestores:
		c.kind = callRestore
		for c.n < 2 && x.at+c.n < len(x.purchases) {
			c.hand[c.n].Record = x.purchases[x.at+c.n]
			c.n++
		}
	case rebuilderReleases:
		c.kind, c.n = callRelease, maxHand
	case rebuilderCounts:
		c.kind = callHolds
	case rebuilderEnds:
		c.kind, c.end, c.seq = callEnd, Cancelled, x.revoke
	case rebuilderRaises:
		c = call{kind: callFloor, to: toPostgres, drop: x.drop, seq: x.seq}
	case rebuilderLevels:
		c.kind, c.seq = callLevel, x.floor
		if x.force {
			c.n = 1
		}
		for _, h := range x.holds {
			c.held[w.poolSize(&h)]++
		}
	case rebuilderAdmits:
		c.kind = callAdmit
	}
	if x.state > rebuilderClaims && c.to >= 0 && (w.now-x.renewed > claimPatience/3 || (!w.healing && w.rng.one(8))) {
		// It was silent for long: it holds on to its claim first.
		c = call{kind: callClaim, to: x.to, token: c.token, standing: x.seen, n: 1}
	}
	if c.kind == callClaim {
		x.renewed = w.now
	}
	w.send(actorOf(i, actorRebuilder), &x.wait, c)
}

func (w *World) poolSize(h *Hold) int8 {
	if !w.terms[h.Drop].Sized {
		return 0
	}
	return h.Size
}

func (w *World) rebuilt(i int, c *call) {
	in := &w.instance[i]
	x := &in.rebuilder
	switch c.outcome {
	case outcomeAway:
		if c.to >= 0 {
			x.state = rebuilderLooks
		}
		return
	case outcomeFenced:
		if !w.g.EagerClaim || c.kind == callAdmit {
			x.state = rebuilderLooks
			return
		}
		w.send(actorOf(i, actorRebuilder), &x.wait, call{kind: callClaim, to: x.to, token: c.token, standing: x.seen, n: 1})
		return
	}
	switch c.kind {
	case callStanding:
		x.suspects = false
		x.seen, x.server, x.lossy, x.epoch = c.standing, c.standing.Server, c.lossy, c.standing.Epoch
		if c.standing.Admitted {
			w.learn(in, c.standing.Epoch)
			x.state = rebuilderCompares
			if !w.healing && w.rng.one(2) {
				x.state = rebuilderLooks
			}
			return
		}
		w.nextClaim++
		x.claim, x.state = w.nextClaim, rebuilderClaims
	case callEpochs:
		if x.state == rebuilderRechecks {
			x.state = rebuilderAdmits
			if c.epoch != x.epoch {
				x.state = rebuilderLooks // another server is being rebuilt: the greater epoch is served
			}
			return
		}
		x.state = rebuilderLooks
		switch bumped, admitted := c.epoch, c.standing.Epoch; {
		case x.epoch > admitted:
			x.state = rebuilderRepairs
		case x.epoch < admitted && !w.g.NoSuperseded && !w.healing: // then an operator asks for a rebuild
			w.sayf("instance %d: server %d was superseded", i, x.to)
		case bumped > x.epoch && c.code == 1:
			// A rebuild has taken a number long ago and has died: writers stand still.
			w.nextClaim++
			x.claim, x.state = w.nextClaim, rebuilderClaims
		}
	case callClaim:
		if c.code != Claimed {
			x.state = rebuilderLooks
		} else if x.state == rebuilderClaims {
			x.state = rebuilderBumps
		}
	case callBump:
		x.epoch, x.drop, x.force, x.state = c.epoch, 1, false, rebuilderReads
	case callHistory:
		x.at, x.state = 0, rebuilderOpens
	case callOpen:
		x.state = rebuilderRestores
		if len(x.purchases) == 0 || w.g.NoRestore {
			x.state = w.toCount()
		}
	case callRestore:
		if x.at += c.n; x.at >= len(x.purchases) {
			x.state = w.toCount()
		}
	case callRelease:
		if int(c.code) < c.n { // else there may be more
			x.state = rebuilderCounts
		}
	case callHolds:
		x.seq, x.state = c.seq, rebuilderRaises
		if (!x.lossy && w.g.MarginIfLossy) || w.g.NoMargin {
			x.floor, x.state = 0, rebuilderLevels
		}
		for k := range x.holds {
			h := &x.holds[k]
			if find(x.ended, h.Drop, h.Seq) != nil && h.Deadline > w.now+w.server[x.to].skew {
				x.revoke, x.state = h.Seq, rebuilderEnds
				break
			}
		}
	case callEnd:
		x.state = w.toCount() // it may have lapsed just now
	case callFloor:
		x.floor, x.state = c.seq, rebuilderLevels
	case callLevel:
		w.levelled(i, c)
	case callAdmit:
		x.state = rebuilderRecords
	case callAdmitted:
		x.state = rebuilderLooks
		x.suspects = true // to learn the epoch
	default: // no call of a rebuild
	}
}

// toCount is what comes before the count of the holds: those that have lapsed
// cannot be revoked, and nobody else may release them meanwhile.
func (w *World) toCount() int {
	if w.g.KeepLapsed {
		return rebuilderCounts
	}
	return rebuilderReleases
}

// levelled goes on to the next drop, or revokes the newest hold of a size that
// has more holds and sales than units.
func (w *World) levelled(i int, c *call) {
	x := &w.instance[i].rebuilder
	if c.code == 1 || x.force {
		x.drop++
		x.force = false
		x.state = rebuilderReads
		if int(x.drop) > w.drops {
			x.state = rebuilderRechecks
			if w.g.NoRecheck {
				x.state = rebuilderAdmits
			}
		}
		return
	}
	x.revoke = 0
	for k := range x.holds {
		if h := &x.holds[k]; c.held[w.poolSize(h)] > 0 {
			x.revoke = max(x.revoke, h.Seq)
		}
	}
	x.state = rebuilderEnds
	if x.revoke == 0 {
		x.force, x.state = true, rebuilderLevels // more was sold than there is
	}
}

// history gives the rebuilder that asked what Postgres has of a drop.
func (w *World) history(c *call) {
	if c.actor == nobody {
		return
	}
	x := &w.instance[instanceOf(c.actor)].rebuilder
	x.purchases, x.ended = x.purchases[:0], x.ended[:0]
	for i := range w.pg.Purchases {
		if r := &w.pg.Purchases[i]; r.Drop == c.drop {
			x.purchases = append(x.purchases, *r)
		}
	}
	for i := range w.pg.Ends {
		if r := &w.pg.Ends[i]; r.Drop == c.drop && r.Kind != Purchased {
			x.ended = append(x.ended, *r)
		}
	}
}

// listHolds gives the rebuilder that asked what is among the deadlines.
func (w *World) listHolds(s *server, c *call) {
	if c.actor == nobody {
		return
	}
	if d := s.drop(c.drop); d != nil {
		c.seq = d.Seq
	}
	x := &w.instance[instanceOf(c.actor)].rebuilder
	x.holds = x.holds[:0]
	for i := range s.Deadlines {
		if m := &s.Deadlines[i]; m.Drop == c.drop {
			x.holds = append(x.holds, m.Hold)
		}
	}
}
