// Package fault tries to break Holdfast's promises: it runs the real servers
// and several holdfast processes, has buyers call them, injects faults by a
// seeded schedule, and then holds everything that was answered against what
// the promises allow.
//
// A world (world.go) is one deployment that lives for many rounds. A round
// (round.go) opens fresh drops, lets buyers (buyers.go) at them while the
// faults of its schedule (schedule.go, faults_*.go) come and go, and checks:
// each drop's history for linearizability (history.go, model.go, check.go) and
// what both stores hold in the end (ends.go). One drop of a round is changed by
// consoles meanwhile, and checked for what came of that (consoles.go).
//
// All randomness of buyers and schedule comes from the round's seed. Processes
// and networks have a timing of their own, so a seed repeats the same faults
// and the same intents, not the same interleaving.
package fault
