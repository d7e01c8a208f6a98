package sim

// copyOn lets replica and disk catch up with the primary, as far as they do.
func (w *World) copyOn() {
	p := &w.server[w.primary]
	if p.role != rolePrimary {
		return
	}
	if w.everysec {
		p.disk.copyFrom(&p.State)
	}
	r := &w.server[1-w.primary]
	if r.role == roleReplica && w.faults&(faultFailover|faultPause) != 0 {
		r.copyFrom(&p.State)
		r.replid = p.replid
	}
}

// fault does one thing that nobody wants, if it may.
func (w *World) fault() {
	switch w.rng.n(8) {
	case 0:
		if w.may(faultCrash, 4) {
			w.crash(w.rng.n(instances))
		}
		return
	case 1:
		if w.pg.Down || w.may(faultPostgres, 3) {
			w.pg.Down = !w.pg.Down
			w.sayf("Postgres down: %v", w.pg.Down)
		}
		return
	}
	p, o := &w.server[w.primary], &w.server[1-w.primary]
	switch {
	case p.role == roleDown:
		w.restart(w.primary)
		return
	case o.role == rolePaused && w.rng.one(3):
		w.sayf("server %d wakes", 1-w.primary)
		o.role = roleZombie
		return
	case (o.role == roleZombie && w.rng.one(40)) || (o.role == roleDown && w.rng.one(3)):
		w.demote(1 - w.primary)
		return
	}
	if w.left == 0 || !w.rng.one(4) {
		return
	}
	switch w.rng.n(4) {
	case 0:
		if w.faults&(faultRestart|faultEverysec) != 0 {
			w.left--
			w.sayf("server %d is killed", w.primary)
			p.role = roleDown
			if w.everysec {
				w.lossy = true
				p.copyFrom(&p.disk)
			}
		}
	case 1:
		if w.faults&faultFlush != 0 {
			w.left--
			w.sayf("FLUSHALL on server %d", w.primary)
			p.clear()
			w.lossy = true
		}
	case 2:
		if w.faults&faultFailover != 0 && o.role == roleReplica {
			w.left--
			w.promote(roleDown)
		}
	default:
		if w.faults&faultPause != 0 && o.role == roleReplica {
			w.left--
			w.promote(rolePaused)
		}
	}
}

func (w *World) restart(i int8) {
	s := &w.server[i]
	s.role, s.promoted, s.replid = rolePrimary, false, w.newReplid()
	if w.everysec {
		s.disk.copyFrom(&s.State)
	}
	w.sayf("server %d is up again, with id %d", i, s.replid)
}

// promote makes the replica primary; the old one takes the given role.
func (w *World) promote(old int) {
	p, r := &w.server[w.primary], &w.server[1-w.primary]
	p.role = old
	r.role, r.promoted, r.replid = rolePrimary, true, w.newReplid()
	w.primary = 1 - w.primary
	w.lossy = true
	w.sayf("server %d is promoted, with id %d; server %d paused: %v", w.primary, r.replid, 1-w.primary, old == rolePaused)
}

// demote makes an old primary a replica: what it had is replaced.
func (w *World) demote(i int8) {
	s, p := &w.server[i], &w.server[w.primary]
	s.role, s.promoted, s.replid = roleReplica, false, p.replid
	s.copyFrom(&p.State)
	w.sayf("server %d is a replica now", i)
}

// heal ends all faults and lets everybody finish.
func (w *World) heal() {
	w.sayf("healed")
	w.healing = true
	w.pg.Down = false
	if w.server[w.primary].role == roleDown {
		w.restart(w.primary)
	}
	if o := 1 - w.primary; w.server[o].role != roleReplica {
		w.demote(o)
	}
	const rounds = 300
	for range rounds {
		for a := range int8(maxBuyers + instances*actorsEach) {
			w.act(a)
		}
		for range 2 {
			for i := w.calls - 1; i >= 0; i-- {
				if i < w.calls {
					w.move(i)
				}
			}
		}
		w.now += 5
		if w.violation != "" || w.quiet() {
			return
		}
	}
}

// quiet says that nothing is left to do.
func (w *World) quiet() bool { return w.unrest() == "" }

func (w *World) unrest() string {
	s := &w.server[w.primary]
	switch {
	case s.Meta.Server != s.replid:
		return "the partition is fenced"
	case len(s.Ledger) > 0:
		return "the ledger is not empty"
	case len(s.Deadlines) > 0:
		return "lapsed holds are not back"
	}
	for i := range w.instance {
		in := &w.instance[i]
		switch {
		case in.epoch != s.Meta.Epoch:
			return "an instance does not know the epoch"
		case in.writer.state != writerReads:
			return "a writer has something in hand"
		}
		for k := range in.acks {
			if in.memory[k].epoch < in.epoch && !w.g.NeverLook {
				return "an instance has not looked for what it acknowledged"
			}
		}
	}
	return ""
}
