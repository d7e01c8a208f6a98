package sim

// instance is one process: an engine that knows the epoch and which server to
// talk to, with a sweeper, a writer, a rebuilder and somebody who looks for lost work.
type instance struct {
	epoch  int64
	target int8
	newest int64 // the greatest epoch it has known
	life   int32
	memory [maxMemory]acked
	acks   int

	sweeperWait uint32
	writer      writer
	rebuilder   rebuilder
	seeker      seeker
}

// maxMemory is more purchases than a world has.
const maxMemory = 40

// acked is a purchase that was acknowledged, and the last epoch in which it is
// known to have been in Redis.
type acked struct {
	Record
	epoch int64
}

// learn takes an epoch that a server says it is served in.
func (w *World) learn(in *instance, epoch int64) {
	if epoch > in.epoch || (w.g.EpochsFall && epoch != 0) {
		in.epoch, in.newest = epoch, max(in.newest, epoch)
	}
}

func (in *instance) remember(r Record, epoch int64) {
	for i := range in.acks {
		if m := &in.memory[i]; m.Record == r {
			m.epoch = max(m.epoch, epoch)
			return
		}
	}
	if in.acks < maxMemory {
		in.memory[in.acks] = acked{r, epoch}
		in.acks++
	}
}

// server is where a call of the instance goes: now and then an old connection
// still leads to a primary that was replaced.
func (w *World) serverFor(in *instance) int8 {
	if w.server[1-in.target].role == roleZombie && !w.healing && w.rng.one(6) {
		return 1 - in.target
	}
	return in.target
}

// crash ends an instance; what it had sent is on its way. Another starts in its place.
func (w *World) crash(i int) {
	in := &w.instance[i]
	first, last := actorOf(i, actorSweeper), actorOf(i, actorSeeker)
	for k := range w.calls {
		if a := w.call[k].actor; a >= first && a <= last {
			w.call[k].actor = nobody
		}
	}
	for k := range w.buyers {
		if b := &w.buyer[k]; b.wait != 0 && int(b.instance) == i {
			if at := w.pending(b.wait); at >= 0 {
				w.call[at].actor = nobody
			}
			b.wait = 0
			w.unknown(int8(k))
		}
	}
	rebuild := in.rebuilder
	*in = instance{target: w.primary, life: in.life + 1}
	in.rebuilder.purchases, in.rebuilder.ended, in.rebuilder.holds = rebuild.purchases[:0], rebuild.ended[:0], rebuild.holds[:0]
	in.writer.own = true
	w.sayf("instance %d killed, and started anew", i)
}

// sweep releases what has lapsed.
func (w *World) sweep(i int) {
	in := &w.instance[i]
	if in.epoch != 0 {
		w.send(actorOf(i, actorSweeper), &in.sweeperWait,
			call{kind: callRelease, to: w.serverFor(in), token: Token{Epoch: in.epoch}, n: 1 + w.rng.n(3)})
	}
}
