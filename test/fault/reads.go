package fault

import (
	"slices"
	"time"
)

// staleBound is how old the stock may be that an instance shows: it answers from
// memory, and hears of the changes of others by events, which may be lost.
const staleBound = time.Second

// earliest is from when on the state may be that an operation saw.
func (o op) earliest() int64 {
	if o.Kind == stock && o.Via != "" {
		return o.Call - staleBound.Nanoseconds()
	}
	return o.Call
}

// aged gives the reads of the stock the time that they may be of: not older than
// staleBound, and not older than what the same instance had acknowledged before.
// So who changes a drop sees it. A change is as old as Redis says: its answer was
// on its way for a while, in which others' changes came about that the instance
// need not have heard of.
func aged(ops []op) []op {
	type change struct{ made, answered int64 }
	acked := map[string][]change{} // by instance
	out := slices.Clone(ops)
	for i, o := range ops {
		if o.Kind != stock && o.acknowledged() {
			_, out[i].Return = narrowed(o)
			acked[o.Via] = append(acked[o.Via], change{out[i].Return, o.Return})
		}
	}
	for i, o := range ops {
		if o.Kind != stock {
			continue
		}
		out[i].Call = o.earliest()
		for _, c := range acked[o.Via] {
			if c.answered < o.Call {
				out[i].Call = max(out[i].Call, c.made+1)
			}
		}
	}
	return out
}
