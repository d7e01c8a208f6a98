package sim

// writer brings the ledger to Postgres: read, commit, take off.
type writer struct {
	wait   uint32
	state  int
	hand   [maxHand]Filed
	n      int
	epoch  int64
	own    bool // there may be something that it was given and does not have
	single bool // a batch was refused: one at a time
	at     int
}

const (
	writerReads = iota
	writerCommits
	writerRefuses
	writerAcks
)

// claimIdle is how long a consumer may hold on to entries, in ms.
const claimIdle = 30

func (w *World) write(i int) {
	in := &w.instance[i]
	x := &in.writer
	if w.lazy && (x.state == writerReads || x.state == writerAcks) && !w.healing && !w.rng.one(12) {
		return
	}
	c := call{to: toPostgres, epoch: x.epoch}
	switch x.state {
	case writerReads:
		if in.epoch == 0 {
			return
		}
		c.kind, c.to, c.user = callRead, w.serverFor(in), int8(i)+1
		switch {
		case x.own:
			c.n = 1
		case w.rng.one(4):
			c.n = 2
		}
	case writerCommits:
		if w.g.EngineEpoch {
			c.epoch = in.epoch
		}
		c.kind = callCommit
		if x.single {
			c.n, c.hand[0] = 1, x.hand[x.at]
		} else {
			c.n, c.hand = x.n, x.hand
		}
	case writerRefuses:
		c.kind, c.n, c.hand[0] = callRefuse, 1, x.hand[x.at]
	case writerAcks:
		c.kind, c.to, c.n, c.hand = callDone, in.target, x.n, x.hand
		c.token = Token{Epoch: x.epoch}
	}
	w.send(actorOf(i, actorWriter), &x.wait, c)
}

func (w *World) written(i int, c *call) {
	in := &w.instance[i]
	x := &in.writer
	switch c.kind {
	case callRead:
		x.own = x.own && (c.outcome != outcomeOK || c.n > 0) // until nothing is left
		if c.outcome != outcomeOK || c.n == 0 {
			return
		}
		x.hand, x.n, x.epoch = c.hand, c.n, c.standing.Epoch
		x.single, x.at, x.state = false, 0, writerCommits
		if w.g.AckFirst {
			x.state = writerAcks
		}
	case callCommit:
		switch c.outcome {
		case outcomeOK:
			w.committed(x)
		case outcomeRefused:
			if x.single {
				x.state = writerRefuses
			} else {
				x.single, x.at = true, 0
			}
		case outcomeOldEpoch:
			w.leave(in, x)
		}
	case callRefuse:
		if c.outcome == outcomeOK {
			w.committed(x)
		}
	case callDone:
		switch {
		case c.outcome == outcomeAway:
		case w.g.AckFirst && c.outcome == outcomeOK:
			x.state = writerCommits
		default: // taken off, or none of this writer's business any more
			x.state = writerReads
			x.own = x.own || c.outcome == outcomeFenced
		}
	default: // no call of a writer
	}
}

// committed goes on after the batch, or after one of a batch that was refused.
func (w *World) committed(x *writer) {
	x.at++
	x.state = writerCommits
	if !x.single || x.at >= x.n {
		x.state = writerAcks
		if w.g.AckFirst {
			x.state = writerReads
		}
	}
}

// leave gives up what a writer of an old epoch has in hand: it reads anew, and
// has the purchases looked for.
func (w *World) leave(in *instance, x *writer) {
	for k := range x.n {
		if x.hand[k].Kind == Purchased {
			in.remember(x.hand[k].Record, x.epoch)
		}
	}
	x.n, x.own, x.state = 0, true, writerReads
}
