package sim

import (
	"fmt"
	"slices"
	"strings"
)

// Violation is a world that broke a promise, in the shortest form found.
type Violation struct {
	Seed    uint64
	Options Options
	What    string
	Trace   []string
}

func (v *Violation) String() string {
	trace := v.Trace
	const most = 200 // lines at each end
	if len(trace) > 2*most {
		trace = slices.Concat(trace[:most], []string{fmt.Sprintf("… %d lines …", len(trace)-2*most)}, trace[len(trace)-most:])
	}
	return fmt.Sprintf("seed %d, %d steps, without faults %b, guards off: %s: %s\n%s",
		v.Seed, v.Options.Steps, v.Options.Faults, v.Options.Guards, v.What, strings.Join(trace, "\n"))
}

// Shrink looks for a shorter world in which the seed breaks a promise too:
// without one fault or another, and healed earlier.
func (w *World) Shrink(seed uint64, o Options) *Violation {
	o.Trace = true
	best := &Violation{Seed: seed}
	try := func(o Options) bool {
		what := w.Run(seed, o)
		if what == "" || (best.What != "" && len(w.trace) >= len(best.Trace)) {
			return false
		}
		best.Options, best.What, best.Trace = o, what, append([]string(nil), w.trace...)
		return true
	}
	if !try(o) {
		return nil
	}
	for better := true; better; {
		better = false
		for f := Faults(1); f <= faultSkew; f <<= 1 {
			if o := best.Options; o.Faults&f == 0 {
				o.Faults |= f
				better = try(o) || better
			}
		}
		for steps := 10; steps < 500; steps += 10 {
			if o := best.Options; o.Steps == 0 || steps < o.Steps {
				o.Steps = steps
				if try(o) {
					better = true
					break
				}
			}
		}
	}
	return best
}
