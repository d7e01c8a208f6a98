package fault

import (
	"context"
	"fmt"
	"slices"
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

	stopsSweep bool          // lapsed holds may wait while it lasts
	forgets    time.Duration // how far back Redis may forget what it acknowledged
	replaced   bool          // the server that it hits is dead until it is healed, and another takes its place
	kills      bool          // instances end
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

// movesRedis tells whether a fault may move a partition to another server of
// Redis, or to the same one after a start: one during which that serves on does not.
func (p plan) movesRedis() bool {
	return slices.ContainsFunc(p, func(f planned) bool { return f.hits == hitsRedis && f.stopsSweep })
}

// ran is what happened when.
type ran struct {
	lossy     int64              // before the first fault that loses data, Unix ns; 0: there was none
	losses    []loss             // of each fault that loses data, in the order of their beginnings
	last      map[int64]snapshot // of each drop, just before that; those that could be had
	snapshots map[int64]snapshot // of each drop, after the last
}

// run injects and heals by the schedule, for as long as the round lasts. After
// the last fault that loses data a snapshot of each drop is taken, and it lasts
// a while longer, so that there is something to see.
func (p plan) run(w *world, drops []sale, lasts time.Duration) (r ran) {
	w.t.Helper()
	lossy := 0
	var served <-chan map[int64]snapshot
	early := false // the snapshots are on their way before the last loss is healed
	for _, f := range p {
		if f.forgets > 0 {
			lossy++
		}
	}
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
		if e.forgets > 0 && !e.heal {
			if r.lossy == 0 {
				r.last = w.lastSeen(drops)
				r.lossy = time.Now().UnixNano()
			}
			// What is acknowledged from here on, with the ledger read, counts as after it.
			r.losses = append(r.losses, loss{back: e.forgets, from: time.Now().UnixNano(), to: never, unwritten: w.unwritten(drops)})
		}
		if err := do(w); err != nil {
			w.t.Fatalf("%s %v: %v", doing, e.fault, err)
		}
		if e.forgets == 0 {
			continue
		}
		if e.heal {
			// They all hit Redis, so that they come one after the other.
			r.losses[len(r.losses)-1].to = time.Now().UnixNano()
		}
		// Where the old server may still answer somebody, the snapshot comes when
		// that is over; where it is dead, as soon as another serves.
		if len(r.losses) == lossy && (e.heal || e.replaced) && served == nil {
			served, early = w.snapshots(drops), !e.heal
		}
	}
	if served != nil {
		r.await(w, served, early)
		lasts = max(lasts, time.Since(started)+afterSnapshot)
	}
	time.Sleep(time.Until(started.Add(lasts)))
	return r
}

// await takes the snapshots, which end the last loss where they came before
// its fault was healed.
func (r *ran) await(w *world, served <-chan map[int64]snapshot, early bool) {
	w.t.Helper()
	if r.snapshots = <-served; r.snapshots == nil {
		w.t.Fatalf("the drops are not served within %v of the last fault that loses data", snapshotBound)
	}
	if early {
		last := &r.losses[len(r.losses)-1]
		last.to = 0
		for _, snap := range r.snapshots {
			last.to = max(last.to, snap.to)
		}
	}
}

// afterSnapshot is how long buyers go on at least once a drop that may have
// lost something is served again.
const afterSnapshot = 2 * time.Second

// snapshotBound is how long the drops may take to be served again. Other
// faults, such as of Postgres, which a rebuild needs, may be healed only
// meanwhile.
const snapshotBound = 2 * healBound

// snapshots waits beside the schedule until the drops are served, and takes one
// of each; nil if they are not within snapshotBound.
func (w *world) snapshots(drops []sale) <-chan map[int64]snapshot {
	out := make(chan map[int64]snapshot, 1)
	go func() {
		ctx, cancel := context.WithTimeout(w.t.Context(), snapshotBound)
		defer cancel()
		all := map[int64]snapshot{}
		for _, d := range drops {
			for {
				once, done := context.WithTimeout(ctx, 2*time.Second)
				snap, err := w.snapshot(once, d)
				done()
				if err == nil {
					all[d.ID] = snap
					break
				}
				select {
				case <-ctx.Done():
					out <- nil
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		}
		out <- all
	}()
	return out
}

// lastSeen takes what snapshots can be had at once.
func (w *world) lastSeen(drops []sale) map[int64]snapshot {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
	defer cancel()
	all := map[int64]snapshot{}
	for _, d := range drops {
		if snap, err := w.snapshot(ctx, d); err == nil {
			all[d.ID] = snap
		}
	}
	return all
}
