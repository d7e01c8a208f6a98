package sim

// seeker looks for what its instance acknowledged before the epoch changed,
// and reports what is neither in Redis nor in Postgres.
type seeker struct {
	wait  uint32
	state int
	at    int
}

const (
	seekerIdle = iota
	seekerLooks
	seekerFinds
	seekerReports
	seekerConfirms
)

func (w *World) seek(i int) {
	in := &w.instance[i]
	x := &in.seeker
	if x.state == seekerIdle {
		x.at = -1
		for k := range in.acks {
			if in.memory[k].epoch < in.epoch && !w.g.NeverLook {
				x.at, x.state = k, seekerLooks
				break
			}
		}
		if x.at < 0 {
			if in.acks == 0 || (!w.healing && !w.rng.one(4)) {
				return
			}
			x.at, x.state = w.rng.n(in.acks), seekerConfirms
		}
	}
	item := &in.memory[x.at]
	c := call{to: toPostgres, drop: item.Drop, seq: item.Seq, record: item.Record}
	switch x.state {
	case seekerLooks:
		c.kind, c.to, c.token = callLook, w.serverFor(in), Token{Epoch: in.epoch}
	case seekerFinds, seekerConfirms:
		c.kind = callFind
	case seekerReports:
		c.kind = callReport
	}
	w.send(actorOf(i, actorSeeker), &x.wait, c)
}

func (w *World) sought(i int, c *call) {
	in := &w.instance[i]
	x := &in.seeker
	if c.outcome != outcomeOK {
		x.state = seekerIdle
		return
	}
	forget := func() {
		in.acks--
		copy(in.memory[x.at:in.acks], in.memory[x.at+1:in.acks+1])
		x.state = seekerIdle
	}
	switch {
	case c.kind == callLook && c.code == 1:
		in.memory[x.at].epoch = c.token.Epoch
		x.state = seekerIdle
		if w.g.ForgetFound {
			forget()
		}
	case c.kind == callLook:
		x.state = seekerFinds
	case c.kind == callFind && c.code == 1, c.kind == callReport:
		forget()
	case x.state == seekerFinds:
		x.state = seekerReports
	default:
		x.state = seekerIdle
	}
}
