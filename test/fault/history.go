package fault

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"
)

// kind is what one operation asked for.
type kind string

const (
	reserve  kind = "reserve"
	purchase kind = "purchase"
	cancel   kind = "cancel"
	stock    kind = "stock"
)

// What an operation came to, apart from the codes of refusals.
const (
	unknown  = ""         // no answer that says whether it happened
	done     = "ok"       // it happened, by this call
	repeated = "repeated" // it had happened, and the same is answered again
	either   = "done"     // it happened, by this call or an earlier one
	missing  = "missing"  // of a stock read: Redis does not have the drop
)

// never is the return time of an operation that has none.
const never = math.MaxInt64 / 4

// op is one operation as its client saw it. Times are Unix nanoseconds of the
// wall clock, which Redis on the same machine shares.
type op struct {
	Client       int
	Via          string // the instance that was asked; empty: one that keeps nothing in memory
	Kind         kind
	Drop         int64
	User         int64
	Size         string
	Key          string // Idempotency-Key of a reserve
	ID           int64  // of the reservation, asked for or got
	Call, Return int64
	Result       string
	Deadline     int64  // of the hold that a reserve got, Unix ms
	At           int64  // when Redis did it, as answered, Unix ms; 0: not said
	Stock        []pool // what a stock read saw
}

// pool is the stock of one size.
type pool struct {
	Size                         string
	Total, Available, Held, Sold int
}

func (o op) String() string {
	ms := func(ns int64) string {
		if ns >= never {
			return "never"
		}
		return time.Unix(0, ns).UTC().Format("05.0000")
	}
	s := fmt.Sprintf("%s…%s client %d %s", ms(o.Call), ms(o.Return), o.Client, o.Kind)
	switch o.Kind {
	case reserve:
		s += fmt.Sprintf(" user %d size %q key %s", o.User, o.Size, o.Key)
		if o.ID != 0 {
			s += fmt.Sprintf(" → %d until %s", o.ID, ms(o.Deadline*1e6))
		}
	case purchase, cancel:
		s += fmt.Sprintf(" %d", o.ID)
	case stock:
		s += fmt.Sprintf(" → %v", o.Stock)
	}
	if o.Result == unknown {
		return s + ": outcome unknown"
	}
	return s + ": " + o.Result
}

// acknowledged tells whether the client was told that it has happened.
func (o op) acknowledged() bool {
	return o.Result == done || o.Result == repeated || o.Result == either
}

// history collects operations from many clients.
type history struct {
	mu  sync.Mutex
	ops []op
}

func (h *history) add(o op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, o)
}

// byDrop is a copy of the operations so far, by drop and in the order of their calls.
func (h *history) byDrop() map[int64][]op {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[int64][]op{}
	for _, o := range h.ops {
		out[o.Drop] = append(out[o.Drop], o)
	}
	for _, ops := range out {
		slices.SortStableFunc(ops, func(a, b op) int { return cmp.Compare(a.Call, b.Call) })
	}
	return out
}

// merged joins the attempts at one thing.
//
// A reserve: an Idempotency-Key takes one unit at most, so an answer to any
// attempt says that exactly one of those up to it has happened, somewhere
// between the first call and the answer. Attempts whose outcome stayed unknown
// vanish into it, earlier refusals stay. After a refusal alone nothing is
// joined: an earlier attempt may still be on its way (in a socket, or in a
// process that is stopped) and happen later.
//
// Without any answer the attempts are one that may happen at any time from the
// first call on; so are purchases, and cancels, of one hold, since each
// happens at most once.
func merged(ops []op) []op {
	type intent struct {
		kind kind
		what string
	}
	of := func(o op) intent {
		if o.Kind == reserve {
			return intent{reserve, o.Key}
		}
		return intent{o.Kind, strconv.FormatInt(o.ID, 10)}
	}
	first := map[intent]int64{} // call of the first attempt of unknown outcome
	known := map[intent]bool{}
	for _, o := range ops {
		i := of(o)
		if at, ok := first[i]; o.Result == unknown && (!ok || o.Call < at) {
			first[i] = o.Call
		}
		known[i] = known[i] || o.Kind == reserve && o.acknowledged()
	}
	out := make([]op, 0, len(ops))
	for _, o := range ops {
		i := of(o)
		at, attempted := first[i]
		switch {
		case o.Result == unknown && (known[i] || o.Call != at):
			continue // part of another
		case o.Result == unknown:
			o.Return = never
		case o.Kind == reserve && o.acknowledged() && attempted:
			o.Result, o.Call = either, min(o.Call, at)
		}
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b op) int { return cmp.Compare(a.Call, b.Call) })
	return out
}
