package fault

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// primaryKilled ends the primary; the Sentinels put a replica in its place.
// Healed, it comes back as a replica of that one.
type primaryKilled struct{ old *harness.Node }

func (*primaryKilled) String() string { return "primary killed" }

func (f *primaryKilled) inject(w *world) error {
	f.old = w.sentinel.Primary()
	f.old.Kill()
	return nil
}

func (f *primaryKilled) heal(w *world) error {
	w.sentinel.AwaitFailover(f.old, failoverBound)
	f.old.Start()
	w.sentinel.AwaitReplicas()
	return nil
}

// failoverBound is how long the Sentinels, or the nodes of a cluster, may take.
const failoverBound = 30 * time.Second

// primaryPaused stops the primary until a replica is in its place, and then
// lets it go on with the commands that have waited in its sockets meanwhile.
type primaryPaused struct{ old *harness.Node }

func (*primaryPaused) String() string {
	return "primary paused, and resumed after its replica's promotion"
}

func (f *primaryPaused) inject(w *world) error {
	f.old = w.sentinel.Primary()
	f.old.Pause()
	return nil
}

func (f *primaryPaused) heal(w *world) error {
	w.sentinel.AwaitFailover(f.old, failoverBound)
	f.old.Resume()
	w.sentinel.AwaitReplicas()
	return nil
}

// primaryCutOff has Sentinels and replicas lose the primary, while the
// instances' connections to it go on: until it misses its replicas, it sells
// beside the one that is put in its place.
type primaryCutOff struct{ old *harness.Node }

func (*primaryCutOff) String() string { return "primary cut off, with clients on both sides" }

func (f *primaryCutOff) inject(w *world) error {
	f.old = w.sentinel.Primary()
	f.old.CutOff()
	return nil
}

func (f *primaryCutOff) heal(w *world) error {
	w.sentinel.AwaitFailover(f.old, failoverBound)
	f.old.Rejoin()
	w.sentinel.AwaitReplicas()
	return nil
}

// failover has the Sentinels exchange the primary, which lives on.
func failover() fault {
	return act{"fail-over", always(func(w *world) {
		w.sentinel.Failover()
	}), always(func(w *world) { w.sentinel.AwaitReplicas() })}
}

// masterOf is the master of one of the partitions, and a slot of its.
func (w *world) masterOf(partition int64) (*harness.Node, int) {
	slot := w.cluster.Slot(w.key(partition, "meta"))
	return w.cluster.Master(slot), slot
}

// masterKilled ends a master of the cluster, whose replica takes its place.
type masterKilled struct {
	partition int64
	pause     bool // stop it in place of ending it

	old  *harness.Node
	slot int
}

func (f *masterKilled) String() string {
	if f.pause {
		return fmt.Sprintf("master of partition %d paused, and resumed after its replica's promotion", f.partition)
	}
	return fmt.Sprintf("master of partition %d killed", f.partition)
}

func (f *masterKilled) inject(w *world) error {
	f.old, f.slot = w.masterOf(f.partition)
	if f.pause {
		f.old.Pause()
	} else {
		f.old.Kill()
	}
	return nil
}

func (f *masterKilled) heal(w *world) error {
	w.cluster.AwaitMaster(f.slot, f.old, failoverBound)
	if f.pause {
		f.old.Resume()
	} else {
		f.old.Start()
	}
	return w.clusterInStep()
}

// clusterInStep waits until each master has a replica again that follows.
func (w *world) clusterInStep() error {
	harness.Eventually(w.t, failoverBound, func() error {
		for _, n := range w.cluster.Nodes {
			role, err := n.Redis().Do(w.t.Context(), "role").Slice()
			if err != nil {
				return fmt.Errorf("%s: %w", n.Name, err)
			}
			// ["slave", host, port, state, offset], or ["master", offset, replicas]
			if replicas, ok := role[len(role)-1].([]any); ok && role[0] == "master" && len(replicas) == 0 {
				return fmt.Errorf("%s has no replica", n.Name)
			}
			if role[0] == "slave" && role[3] != "connected" {
				return fmt.Errorf("%s is %v", n.Name, role[3])
			}
		}
		return nil
	})
	return nil
}

// takenOver puts a replica in its master's place while that lives and sells:
// for a moment clients find one on each side.
type takenOver struct{ partition int64 }

func (f takenOver) String() string {
	return fmt.Sprintf("partition %d taken over by a replica", f.partition)
}

func (f takenOver) inject(w *world) error {
	_, slot := w.masterOf(f.partition)
	w.cluster.Takeover(slot)
	return nil
}

func (f takenOver) heal(w *world) error { return w.clusterInStep() }

// slotMoved migrates the slot of a partition, with all its keys, to another
// master while it sells.
type slotMoved struct {
	partition int64
	to        int // of the other masters
}

func (f slotMoved) String() string { return fmt.Sprintf("slot of partition %d migrated", f.partition) }

func (f slotMoved) inject(w *world) error {
	from, slot := w.masterOf(f.partition)
	var others []*harness.Node
	for p := range int64(partitions) {
		if n, _ := w.masterOf(p); n != from {
			others = append(others, n)
		}
	}
	if len(others) == 0 {
		return fmt.Errorf("%s has all partitions", from.Name)
	}
	w.cluster.MoveSlot(slot, others[f.to%len(others)])
	return nil
}

func (f slotMoved) heal(w *world) error { return w.clusterInStep() }

func topologyKinds() []faultKind {
	partition := func(rng *rand.Rand) int64 { return rng.Int64N(partitions) }
	return []faultKind{
		{name: "primary killed", on: []topology{sentinel}, hits: hitsRedis, lasts: brief(500, 2000), stopsSweep: true, forgets: forgetsLag, replaced: true,
			make: func(*world, *rand.Rand) fault { return &primaryKilled{} }},
		{name: "primary paused", on: []topology{sentinel}, hits: hitsRedis, lasts: brief(500, 3000), stopsSweep: true, forgets: forgetsLag,
			make: func(*world, *rand.Rand) fault { return &primaryPaused{} }},
		{name: "primary cut off", on: []topology{sentinel}, hits: hitsRedis, lasts: brief(1500, 3500), stopsSweep: true, forgets: forgetsLag,
			make: func(*world, *rand.Rand) fault { return &primaryCutOff{} }},
		{name: "fail-over", on: []topology{sentinel}, hits: hitsRedis, lasts: brief(100, 1000), stopsSweep: true, forgets: forgetsLag, make: of(failover)},
		{name: "master killed", on: []topology{cluster}, hits: hitsRedis, lasts: brief(500, 2000), stopsSweep: true, forgets: forgetsLag, replaced: true,
			make: func(_ *world, rng *rand.Rand) fault { return &masterKilled{partition: partition(rng)} }},
		{name: "master paused", on: []topology{cluster}, hits: hitsRedis, lasts: brief(500, 3000), stopsSweep: true, forgets: forgetsLag,
			make: func(_ *world, rng *rand.Rand) fault { return &masterKilled{partition: partition(rng), pause: true} }},
		{name: "taken over", on: []topology{cluster}, hits: hitsRedis, lasts: brief(100, 1000), stopsSweep: true, forgets: forgetsLag,
			make: func(_ *world, rng *rand.Rand) fault { return takenOver{partition(rng)} }},
		{name: "slot moved", on: []topology{cluster}, hits: hitsRedis, lasts: brief(100, 1000), stopsSweep: true,
			make: func(_ *world, rng *rand.Rand) fault { return slotMoved{partition(rng), rng.IntN(3)} }},
	}
}
