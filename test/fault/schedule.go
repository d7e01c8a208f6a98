package fault

import (
	"fmt"
	"time"
)

// fault is one thing that goes wrong, and is mended again.
type fault interface {
	// String names it with what it hits.
	String() string
	inject(w *world) error
	heal(w *world) error
}

// planned is a fault in a round's schedule.
type planned struct {
	fault fault
	kind  string
	hits  target
	at    time.Duration // from the round's beginning
	lasts time.Duration

	stopsSweep bool // lapsed holds may wait while it lasts
	losesData  bool // Redis may forget what it acknowledged
}

func (p planned) String() string { return fmt.Sprintf("%v at %v for %v", p.fault, p.at, p.lasts) }

// plan is the schedule of one round, in the order of its times.
type plan []planned

// quiet tells whether nothing goes wrong.
func (p plan) quiet() bool { return len(p) == 0 }

// quietSweep tells whether no fault keeps lapsed holds waiting.
func (p plan) quietSweep() bool {
	for _, f := range p {
		if f.stopsSweep {
			return false
		}
	}
	return true
}

// run injects and heals by the schedule, for as long as the round lasts.
func (p plan) run(w *world, lasts time.Duration) {
	w.t.Helper()
	type event struct {
		at   time.Duration
		heal bool
		planned
	}
	var events []event
	for _, f := range p {
		events = append(events, event{f.at, false, f}, event{f.at + f.lasts, true, f})
	}
	started := time.Now()
	for len(events) > 0 {
		next := 0
		for i, e := range events {
			if e.at < events[next].at {
				next = i
			}
		}
		e := events[next]
		events = append(events[:next], events[next+1:]...)
		time.Sleep(time.Until(started.Add(e.at)))
		do, doing := e.fault.inject, "inject"
		if e.heal {
			do, doing = e.fault.heal, "heal"
		}
		if err := do(w); err != nil {
			w.t.Fatalf("%s %v: %v", doing, e.fault, err)
		}
	}
	time.Sleep(time.Until(started.Add(lasts)))
}
