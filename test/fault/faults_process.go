package fault

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// killed is kill -9 of some instances, which start again when it is healed.
type killed struct{ of []*instance }

func (f killed) String() string { return fmt.Sprintf("%d instances killed", len(f.of)) }

func (f killed) inject(*world) error {
	for _, in := range f.of {
		in.Kill()
	}
	return nil
}

func (f killed) heal(*world) error {
	for _, in := range f.of {
		in.Again()
	}
	return nil
}

func oneKilled(w *world, rng *rand.Rand) fault {
	return killed{[]*instance{w.instances[rng.IntN(len(w.instances))]}}
}

func allKilled(w *world, _ *rand.Rand) fault { return killed{w.instances} }

// paused is SIGSTOP of one instance: what it had sent, and what its clients
// have asked of it, happens when they no longer wait for it.
type paused struct{ in *instance }

func (f paused) String() string      { return f.in.name + " paused" }
func (f paused) inject(*world) error { f.in.Signal(syscall.SIGSTOP); return nil }
func (f paused) heal(*world) error   { f.in.Signal(syscall.SIGCONT); return nil }

func onePaused(w *world, rng *rand.Rand) fault {
	return paused{w.instances[rng.IntN(len(w.instances))]}
}

// killedAtCommit is kill -9 of a writer whose transaction is on its way to
// Postgres (upstream: before it commits) or whose answer is on its way back
// (downstream: it has committed, and what the ledger holds is not taken off).
type killedAtCommit struct {
	in     *instance
	stream string
}

func (f killedAtCommit) String() string { return f.in.name + " killed at a commit, " + f.stream }

func (f killedAtCommit) inject(*world) error {
	err := f.in.postgres.add(toxic{"at commit", "latency", f.stream, 1, map[string]any{"latency": 250}})
	time.Sleep(600 * time.Millisecond) // a few statements of a batch
	f.in.Kill()
	return err
}

func (f killedAtCommit) heal(*world) error {
	err := f.in.postgres.remove("at commit")
	f.in.Again()
	return err
}

func oneKilledAtCommit(w *world, rng *rand.Rand) fault {
	return killedAtCommit{w.instances[rng.IntN(len(w.instances))], []string{"upstream", "downstream"}[rng.IntN(2)]}
}

// rolling restarts all instances in order, each by SIGTERM, the next when the
// one before is ready again.
type rolling struct{}

func (rolling) String() string { return "rolling restart" }

func (rolling) inject(w *world) error {
	for _, in := range w.instances {
		if status := in.Terminate(); status != 0 {
			return fmt.Errorf("%s ended with %d", in.name, status)
		}
		in.Again()
		in.Ready()
	}
	return nil
}

func (rolling) heal(*world) error { return nil }
