package sim

// buyer reserves, and then buys, cancels or lets the hold lapse. What got no
// answer is repeated, through any instance; some hands are on holds of others.
type buyer struct {
	wait     uint32
	state    int
	user     int8
	instance int8
	drop     int8
	size     int8
	key      int32
	end      byte
	until    int64
	hold     Hold
	told     Hold // what the key got, as far as was said
	receipt  Record
	known    bool // receipt was told
}

const (
	buyerIdle = iota
	buyerReserves
	buyerHolds
	buyerEnds
)

func (w *World) buy(k int) {
	b := &w.buyer[k]
	switch b.state {
	case buyerIdle:
		if !w.healing {
			w.begin(b)
		}
	case buyerReserves:
		if w.healing {
			b.state = buyerIdle
			return
		}
		if w.rng.one(2) {
			b.instance = int8(w.rng.n(instances))
		}
		if in := &w.instance[b.instance]; in.epoch != 0 {
			w.send(int8(k), &b.wait, call{
				kind: callReserve, to: w.serverFor(in), token: Token{Epoch: in.epoch},
				drop: b.drop, user: b.user, size: b.size, key: b.key,
			})
		}
	case buyerHolds:
		switch {
		case b.end != 0 && (w.now >= b.until || w.rng.one(4)):
			b.state = buyerEnds
		case w.now > b.hold.Deadline || w.healing:
			b.state = buyerIdle
		}
	case buyerEnds:
		if w.healing {
			b.state = buyerIdle
			return
		}
		if w.rng.one(2) {
			b.instance = int8(w.rng.n(instances))
		}
		if in := &w.instance[b.instance]; in.epoch != 0 {
			w.send(int8(k), &b.wait, call{
				kind: callSettle, to: w.serverFor(in), token: Token{Epoch: in.epoch},
				drop: b.hold.Drop, seq: b.hold.Seq, end: b.end, user: b.hold.User,
			})
		}
	}
}

// begin chooses what to do next.
func (w *World) begin(b *buyer) {
	b.instance = int8(w.rng.n(instances))
	b.receipt, b.known, b.told = Record{}, false, Hold{}
	if w.holds > 0 && w.rng.one(5) {
		b.hold = w.toldHold[w.rng.n(w.holds)].Hold
		b.state, b.end = buyerEnds, w.kind()
		return
	}
	b.user = int8(1 + w.rng.n(w.users))
	b.drop = int8(1 + w.rng.n(w.drops))
	b.size = 0
	if w.terms[b.drop].Sized {
		b.size = int8(1 + w.rng.n(2))
	}
	b.key = 0
	if !w.rng.one(5) {
		w.nextKey++
		b.key = w.nextKey
	}
	b.state = buyerReserves
}

func (w *World) kind() byte {
	if w.rng.one(3) {
		return Cancelled
	}
	return Purchased
}

// bought handles the answer to a buyer's call.
func (w *World) bought(k int, c *call) {
	b := &w.buyer[k]
	in := &w.instance[b.instance]
	if c.outcome != outcomeOK {
		in.rebuilder.suspects = in.rebuilder.suspects || c.outcome == outcomeFenced
		w.unknown(int8(k))
		return
	}
	if c.kind == callReserve {
		w.reserved(b, in, c)
		return
	}
	w.settled(b, in, c)
}

func (w *World) reserved(b *buyer, in *instance, c *call) {
	if c.code < 0 {
		b.state = buyerIdle
		return
	}
	if c.token.Epoch != in.epoch && !w.g.TrustLate {
		w.unknownReserve(b)
		return
	}
	w.checkEpoch(in, c)
	w.tellHold(b, &c.hold)
	b.told = c.hold
	if w.may(faultLoss, 12) { // acknowledged, and the buyer did not hear it
		w.unknownReserve(b)
		return
	}
	b.hold, b.state, b.end = c.hold, buyerHolds, w.kind()
	if w.rng.one(5) {
		b.end = 0
	}
	b.until = w.now + int64(w.rng.n(int(w.terms[b.drop].Life)*5/4))
}

func (w *World) unknownReserve(b *buyer) {
	if b.key == 0 {
		b.state = buyerIdle
	}
}

func (w *World) settled(b *buyer, in *instance, c *call) {
	if c.code != Settled && c.code != SettledBefore {
		if b.known && !w.lossy {
			w.failf("an acknowledged %c of %d was answered %d when repeated", b.receipt.Kind, b.receipt.Seq, c.code)
		}
		b.state = buyerIdle
		return
	}
	epoch := c.token.Epoch
	if w.g.TrustLate {
		epoch = in.epoch
	}
	if c.record.Kind == Purchased {
		in.remember(c.record, epoch)
	}
	if epoch != in.epoch {
		return // answered as unavailable: repeated
	}
	w.checkEpoch(in, c)
	w.tellEnd(b, in, &c.record)
	b.receipt, b.known = c.record, true
	if !w.rng.one(3) {
		b.state = buyerIdle
	}
}

// unknown is what an actor does that gave up on its call, or was told that it was not done.
func (w *World) unknown(actor int8) {
	if int(actor) >= w.buyers {
		i, role := instanceOf(actor), roleOf(actor)
		in := &w.instance[i]
		switch role {
		case actorWriter:
			in.writer.own = in.writer.own || in.writer.state == writerReads
		case actorRebuilder:
			// What it gave up on may still be done. Under another claim it cannot be.
			if !w.g.RetryRebuild || in.rebuilder.state <= rebuilderClaims {
				in.rebuilder.state = rebuilderLooks
			}
		}
		return
	}
	if b := &w.buyer[actor]; b.state == buyerReserves {
		w.unknownReserve(b)
	}
}
