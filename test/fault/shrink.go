package fault

import (
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// shrinkFor bounds the search for a smaller history.
const shrinkFor = 20 * time.Second

// shrink gives the smallest history it finds that is still illegal. It takes
// away only what cannot make a legal history illegal:
//
//   - what was called after some moment (a prefix of a legal history is legal,
//     and what had not returned by then has no known outcome);
//   - operations that change nothing: reads, refusals, repeats;
//   - all of a hold where no operation that is left, a read or a refusal, can
//     have seen it: without it there is only more stock. One that the history
//     begins with stays.
func shrink(m terms, steps []porcupine.Operation) []porcupine.Operation {
	until := time.Now().Add(shrinkFor)
	illegal := func(h []porcupine.Operation) bool {
		return time.Now().Before(until) &&
			porcupine.CheckOperationsTimeout(m.porcupine(), h, 2*time.Second) == porcupine.Illegal
	}
	// Operations are in the order of their calls: halve to the shortest prefix.
	low, high := 0, len(steps) // a prefix of high is illegal
	for low < high-1 && time.Now().Before(until) {
		middle := (low + high) / 2
		if illegal(prefix(steps, middle)) {
			high = middle
		} else {
			low = middle
		}
	}
	if short := prefix(steps, high); illegal(short) {
		steps = short
	}
	for i := len(steps) - 1; i >= 0; i-- {
		if less := slices.Delete(slices.Clone(steps), i, i+1); idle(steps[i]) && illegal(less) {
			steps = less
		}
	}
	for _, hold := range holdsOf(steps) {
		if m.start != "" && m.start[hold] != absent || seen(steps, hold) {
			continue
		}
		less := slices.DeleteFunc(slices.Clone(steps), func(o porcupine.Operation) bool { return stepOf(o).hold == hold })
		if illegal(less) {
			steps = less
		}
	}
	return steps
}

func stepOf(o porcupine.Operation) step { return o.Input.(step) }

// prefix is what was called first: n operations, of which those that had not
// returned by the last call have no known outcome.
func prefix(steps []porcupine.Operation, n int) []porcupine.Operation {
	out := slices.Clone(steps[:n])
	if n == 0 || n == len(steps) {
		return out
	}
	end := steps[n].Call
	kept := out[:0]
	for _, o := range out {
		s := stepOf(o)
		if o.Return >= end {
			switch s.verb {
			case stepRead, stepRefuse:
				continue // of no effect, and no answer yet
			case stepReserve:
				if s.result != unknown { // it may have happened; its hold is known by the deadline that follows
					o.Return = never
				}
			case stepPurchase, stepCancel:
				s.result = unknown
				o.Input, o.Return = s, never
			case stepDue, stepLapse:
				o.Return = never
			}
		}
		kept = append(kept, o)
	}
	return kept
}

// idle tells whether an operation changes nothing.
func idle(o porcupine.Operation) bool {
	switch s := stepOf(o); s.verb {
	case stepRead, stepRefuse:
		return true
	case stepReserve:
		return s.result == repeated
	case stepPurchase, stepCancel:
		return s.result != unknown && s.result != done && s.result != either
	case stepDue, stepLapse:
	}
	return false
}

func holdsOf(steps []porcupine.Operation) []int {
	var holds []int
	for _, o := range steps {
		if h := stepOf(o).hold; h >= 0 && !slices.Contains(holds, h) {
			holds = append(holds, h)
		}
	}
	return holds
}

// seen tells whether a read or a refusal may have counted the hold.
func seen(steps []porcupine.Operation, hold int) bool {
	from, to, ended := int64(never), int64(0), false
	for _, o := range steps {
		s := stepOf(o)
		if s.hold != hold {
			continue
		}
		from, to = min(from, o.Call), max(to, o.Return)
		ended = ended || s.verb == stepLapse || s.verb == stepCancel && s.result == either
		if s.verb == stepPurchase && (s.result == done || s.result == either || s.result == unknown) {
			to = never
		}
	}
	if !ended {
		to = never
	}
	return slices.ContainsFunc(steps, func(o porcupine.Operation) bool {
		s := stepOf(o)
		return (s.verb == stepRead || s.verb == stepRefuse) && o.Return >= from && o.Call <= to
	})
}
