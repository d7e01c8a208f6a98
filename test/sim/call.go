package sim

// Every call to Redis or Postgres is three steps of the scheduler: sent,
// executed, delivered. It can be lost before each, its caller can give up at
// any time, and it may be executed long after.
type callKind uint8

const (
	callReserve callKind = iota
	callSettle
	callRelease
	callStanding // what comes before may be executed twice
	callClaim
	callOpen
	callRestore
	callHolds
	callEnd
	callLevel
	callAdmit
	callRead
	callDone
	callLook
	callCommit
	callRefuse
	callHistory
	callBump
	callFloor
	callEpochs
	callAdmitted
	callFind
	callReport
)

var callNames = [...]string{
	"reserve", "settle", "release", "standing", "claim", "open", "restore", "holds", "end", "level", "admit", "read", "done", "look",
	"commit", "refuse", "history", "bump", "floor", "epochs", "admitted", "find", "report",
}

const (
	toPostgres = int8(-1)
	nobody     = int8(-1)
	maxCalls   = 24
	maxHand    = 4 // records in one call
)

type call struct {
	actor    int8 // who waits; nobody: given up
	to       int8 // server, or toPostgres
	kind     callKind
	executed bool
	slow     bool
	serial   uint32
	token    Token

	// What is asked.
	drop, user, size int8
	end              byte // Purchased or Cancelled
	seq, key         int32
	epoch            int64
	n                int
	held             [maxSizes]int32
	hand             [maxHand]Filed // n of them; also in replies

	// What is answered.
	outcome  int
	code     int32
	hold     Hold
	record   Record
	standing Standing
	lossy    bool
}

// send puts a call on its way. Nothing is sent when too much is under way.
func (w *World) send(actor int8, wait *uint32, c call) {
	if w.calls >= maxCalls {
		return
	}
	w.serial++
	c.slow = w.may(faultLoss, 12)
	c.actor, c.serial = actor, w.serial
	*wait = c.serial
	w.call[w.calls] = c
	w.calls++
}

func (w *World) drop(i int) {
	w.calls--
	if i != w.calls {
		w.call[i] = w.call[w.calls]
	}
}

// move takes a call one step further.
func (w *World) move(i int) {
	c := &w.call[i]
	if c.slow && !w.healing && !w.rng.one(40) {
		return
	}
	if !c.executed {
		if c.to != toPostgres {
			s := &w.server[c.to]
			switch s.role {
			case rolePaused:
				return // it waits in the socket
			case roleDown:
				w.drop(i)
				return
			}
		}
		if w.may(faultLoss, 24) {
			if w.tracing {
				w.sayf("lost before it is done: %s", c)
			}
			w.drop(i)
			return
		}
		if c.kind < callStanding && (c.token.Claim == 0 || w.g.RetryRebuild) && w.may(faultTwice, 40) && w.calls < maxCalls {
			again := *c
			again.actor = nobody
			w.call[w.calls] = again
			w.calls++
		}
		w.execute(c)
		c.executed = true
		if c.actor == nobody {
			w.drop(i)
			return
		}
		if c.slow || w.rng.one(3) { // else the reply is quick
			return
		}
	}
	if w.may(faultLoss, 16) {
		if w.tracing {
			w.sayf("reply lost: %s", c)
		}
		w.drop(i)
		return
	}
	if c.actor != nobody {
		if wait := w.wait(c.actor); *wait == c.serial {
			*wait = 0
			w.answer = *c
			w.drop(i)
			w.reply(&w.answer)
			return
		}
	}
	w.drop(i)
}

// pending is the place of a call under way, -1: it was lost.
func (w *World) pending(serial uint32) int {
	for i := range w.calls {
		if w.call[i].serial == serial {
			return i
		}
	}
	return -1
}

// patience lets a waiting actor give up: soon where nothing will come.
func (w *World) patience(actor int8, wait *uint32) {
	at := w.pending(*wait)
	switch {
	case at < 0 && (w.healing || w.rng.one(3)):
	case at >= 0 && !w.healing && w.faults&faultLoss != 0 && w.rng.one(w.patienceOf(&w.call[at])):
		if w.tracing {
			w.sayf("given up: %s", &w.call[at])
		}
		w.call[at].actor = nobody
	default:
		return
	}
	*wait = 0
	w.unknown(actor)
}

// patienceOf is how rarely a waiting actor gives up on a call.
func (w *World) patienceOf(c *call) int {
	if c.slow {
		return 120
	}
	return 30
}
