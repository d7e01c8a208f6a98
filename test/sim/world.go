package sim

import "fmt"

const (
	servers   = 2
	instances = 2
	maxBuyers = 5
)

// Faults that may happen in a world.
type Faults uint16

// The faults.
const (
	faultLoss     Faults = 1 << iota // calls and replies lost, callers that give up
	faultTwice                       // a call is executed a second time, later
	faultCrash                       // instances killed
	faultPostgres                    // Postgres away for a while
	faultRestart                     // Redis killed and restarted, every write fsynced
	faultEverysec                    // the same, losing what was not fsynced
	faultFlush                       // FLUSHALL
	faultFailover                    // the primary dies, the replica is promoted
	faultPause                       // it is frozen instead, and wakes later
	faultSkew                        // servers' clocks differ
)

// profiles are what is mixed with what: a world with every fault gets nowhere.
var profiles = [...]Faults{
	0,
	faultLoss | faultTwice | faultCrash | faultPostgres,
	faultLoss | faultCrash | faultPostgres | faultRestart,
	faultLoss | faultCrash | faultEverysec,
	faultLoss | faultTwice | faultFlush,
	faultCrash | faultPostgres | faultFlush,
	faultLoss | faultFailover | faultSkew,
	faultLoss | faultPause | faultPostgres,
	faultLoss | faultPause | faultSkew | faultTwice,
	faultPause,
	faultLoss | faultTwice | faultCrash | faultPostgres | faultRestart | faultFlush | faultFailover | faultPause | faultSkew,
}

// Actors of an instance, after the buyers.
const (
	actorSweeper = iota
	actorWriter
	actorRebuilder
	actorSeeker
	actorsEach
)

func actorOf(instance, role int) int8 { return int8(maxBuyers + instance*actorsEach + role) }
func instanceOf(actor int8) int       { return (int(actor) - maxBuyers) / actorsEach }
func roleOf(actor int8) int           { return (int(actor) - maxBuyers) % actorsEach }

// World is everything of one seed. It is reused: Run makes it new.
type World struct {
	g       Guards
	faults  Faults
	rng     rng
	steps   int
	now     int64
	healing bool

	everysec  bool
	twoServed bool // an old primary was served besides the new one: work of one of them is refused in the end
	lossy     bool // Redis has lost, or may have lost, what it acknowledged
	left      int  // faults of Redis that may still happen
	drops     int
	users     int
	buyers    int
	maxLedger int
	lazy      bool // writers are slow
	terms     [maxDrops]Terms

	server     [servers]server
	primary    int8
	pg         Postgres
	instance   [instances]instance
	buyer      [maxBuyers]buyer
	call       [maxCalls]call
	calls      int
	answer     call // being handed over
	serial     uint32
	nextReplid int32
	nextClaim  int32
	nextKey    int32

	toldHold     [maxTold]toldHold
	holds        int
	toldPurchase [maxTold]toldPurchase
	sales        int

	restored  int
	violation string
	tracing   bool
	trace     []string
}

// Options of a run: the zero value is the whole of it.
type Options struct {
	Guards Guards
	Steps  int    // before everything is healed; 0: as the seed says
	Faults Faults // without these
	Among  Faults // if not zero: a world with these, whatever the seed says
	Trace  bool
}

// Run plays the world of a seed and returns what broke, "" if nothing did.
// The same seed and options give the same world, step by step.
func (w *World) Run(seed uint64, o Options) string {
	w.reset(seed, o)
	for w.steps > 0 && w.violation == "" {
		w.steps--
		w.step()
	}
	if w.violation == "" {
		w.heal()
	}
	if w.violation == "" {
		w.checkEnd()
	}
	return w.violation
}

func (w *World) reset(seed uint64, o Options) {
	w.g, w.rng = o.Guards, rng{seed}
	w.tracing, w.trace, w.violation = o.Trace, w.trace[:0], ""
	w.twoServed, w.healing, w.lossy, w.now = false, false, false, 1000
	w.calls, w.serial, w.nextReplid, w.nextClaim, w.nextKey = 0, 0, 0, 0, 0
	w.holds, w.sales, w.primary, w.restored = 0, 0, 0, 0
	r := &w.rng
	w.faults = profiles[r.n(len(profiles))] &^ o.Faults
	if o.Among != 0 {
		w.faults = o.Among &^ o.Faults
	}
	w.everysec = w.faults&faultEverysec != 0
	w.left = 1 + r.n(3)
	w.steps = 200 + r.n(800)
	if w.faults&faultPause != 0 {
		w.steps *= 2
	}
	w.lazy = r.one(3)
	if o.Steps > 0 {
		w.steps = o.Steps
	}
	w.drops, w.users, w.buyers = 1+r.n(2), 1+r.n(4), 2+r.n(maxBuyers-1)
	w.maxLedger = 1000
	if r.one(8) {
		w.maxLedger = 2
	}
	w.pg.clear()
	for d := 1; d <= w.drops; d++ {
		t := &w.terms[d]
		*t = Terms{Life: int64(20 + r.n(100)), Limit: int32(r.n(3)), Sized: r.one(3), First: 1}
		if t.Sized {
			t.Total[1], t.Total[2] = int32(1+r.n(2)), int32(1+r.n(2))
		} else {
			t.Total[0] = int32(1 + r.n(3))
		}
		w.pg.Total[d], w.pg.Sized[d] = t.Total, t.Sized
	}
	for i := range w.server {
		s := &w.server[i]
		s.clear()
		s.disk.clear()
		s.Grain = 0
		s.fenced, s.claimed = false, 0
		s.role, s.promoted, s.skew, s.replid = roleReplica, false, 0, w.newReplid()
		if w.faults&faultSkew != 0 {
			s.skew, s.Grain = int64(100*r.n(6)), 200
		}
	}
	w.server[0].role = rolePrimary
	w.server[1].replid = w.server[0].replid
	for i := range w.instance {
		x := &w.instance[i].rebuilder
		w.instance[i] = instance{rebuilder: rebuilder{purchases: x.purchases[:0], ended: x.ended[:0], holds: x.holds[:0]}}
		w.instance[i].writer.own = true
	}
	for i := range w.buyer {
		w.buyer[i] = buyer{}
	}
	if !r.one(4) {
		w.warm()
	}
	if w.tracing {
		w.sayf("%d drops %+v, %d users, %d buyers, faults %b", w.drops, w.terms[1:w.drops+1], w.users, w.buyers, w.faults)
	}
}

// warm begins with a partition that is served: most worlds are about what comes after.
func (w *World) warm() {
	s := &w.server[0]
	for d := 1; d <= w.drops; d++ {
		s.Open(int8(d), &w.terms[d])
	}
	s.Meta = Meta{Epoch: 1, Server: s.replid}
	w.pg.Epoch, w.pg.Admitted = 1, 1
	s.disk.copyFrom(&s.State)
	w.server[1].copyFrom(&s.State)
	for i := range w.instance {
		w.instance[i].epoch = 1
	}
}

// may is true once in k times where the fault is allowed.
func (w *World) may(f Faults, k int) bool {
	return w.faults&f != 0 && !w.healing && w.rng.one(k)
}

// step takes one step of something.
func (w *World) step() {
	switch n := w.rng.n(16); {
	case n < 7 && w.calls > 0:
		w.move(w.rng.n(w.calls))
	case n < 10:
		w.act(int8(w.rng.n(w.buyers)))
	case n < 14:
		role := [8]int{actorSweeper, actorWriter, actorWriter, actorRebuilder, actorRebuilder, actorRebuilder, actorRebuilder, actorSeeker}[w.rng.n(8)]
		w.act(actorOf(w.rng.n(instances), role))
	case n < 15:
		w.now += int64(1 + w.rng.n(6))
		if w.rng.one(12) {
			w.now += 60
		}
		if w.rng.one(4) {
			w.copyOn()
		}
	default:
		w.fault()
	}
}

// wait is the serial of the call that an actor waits for.
func (w *World) wait(actor int8) *uint32 {
	if int(actor) < maxBuyers {
		return &w.buyer[actor].wait
	}
	in := &w.instance[instanceOf(actor)]
	switch roleOf(actor) {
	case actorSweeper:
		return &in.sweeperWait
	case actorWriter:
		return &in.writer.wait
	case actorRebuilder:
		return &in.rebuilder.wait
	default:
		return &in.seeker.wait
	}
}

func (w *World) act(actor int8) {
	if wait := w.wait(actor); *wait != 0 {
		w.patience(actor, wait)
		return
	}
	if int(actor) < maxBuyers {
		if int(actor) < w.buyers {
			w.buy(int(actor))
		}
		return
	}
	i := instanceOf(actor)
	switch roleOf(actor) {
	case actorSweeper:
		w.sweep(i)
	case actorWriter:
		w.write(i)
	case actorRebuilder:
		w.rebuild(i)
	default:
		w.seek(i)
	}
}

// reply hands an answer to who waits for it.
func (w *World) reply(c *call) {
	if w.tracing {
		w.sayf("answered: %s", c)
	}
	if int(c.actor) < maxBuyers {
		w.bought(int(c.actor), c)
		return
	}
	i := instanceOf(c.actor)
	switch roleOf(c.actor) {
	case actorSweeper:
		w.instance[i].rebuilder.suspects = w.instance[i].rebuilder.suspects || c.outcome == outcomeFenced
	case actorWriter:
		w.written(i, c)
	case actorRebuilder:
		w.rebuilt(i, c)
		if x := &w.instance[i].rebuilder; x.wait == 0 && x.state != rebuilderLooks && !w.rng.one(3) {
			w.rebuild(i) // most of a rebuild has no pauses
		}
	default:
		w.sought(i, c)
	}
}

func (w *World) sayf(format string, args ...any) {
	if w.tracing {
		w.trace = append(w.trace, fmt.Sprintf("%5d  ", w.now)+fmt.Sprintf(format, args...))
	}
}
