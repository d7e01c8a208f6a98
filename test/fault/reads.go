package fault

import "time"

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
// So who changes a drop sees it.
func aged(ops []op) []op {
	acked := map[string][]int64{} // by instance: when changes had been answered
	for _, o := range ops {
		if o.Kind != stock && o.acknowledged() {
			acked[o.Via] = append(acked[o.Via], o.Return)
		}
	}
	out := make([]op, len(ops))
	for i, o := range ops {
		if o.Kind == stock {
			from := o.earliest()
			for _, at := range acked[o.Via] {
				if at < o.Call {
					from = max(from, at+1)
				}
			}
			o.Call = from
		}
		out[i] = o
	}
	return out
}
