package engine_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

const allPartitions = 16

// everywhere opens a drop in each partition.
func everywhere(t testing.TB, e *engine.Engine, stock int64, changes ...func(*engine.Drop)) []int64 {
	t.Helper()
	drops := make([]int64, allPartitions)
	for i := range drops {
		drops[i] = int64(i + 1)
		open(t, e, drops[i], stock, changes...)
	}
	return drops
}

func slotOf(c *harness.ClusterEnv, drop int64) int { return c.Slot(keyPrefix(&c.Env, drop)) }

// otherMaster is a master that does not serve the slot.
func otherMaster(c *harness.ClusterEnv, slot int) *harness.Node {
	if to := c.Nodes[0]; c.Master(slot) != to {
		return to
	}
	return c.Nodes[1]
}

func TestCluster(t *testing.T) { //nolint:tparallel // the subtests are steps on one cluster
	t.Parallel()
	c := harness.OwnCluster(t, harness.ClusterOptions{})
	e := startEngine(t, c.RedisURL, c.Prefix)

	t.Run("partitions are spread evenly", func(t *testing.T) {
		have := map[*harness.Node]int{}
		for p := range allPartitions {
			slot := c.Slot(engine.KeyPrefix(c.Prefix, allPartitions, p))
			if p*harness.Slots/allPartitions > slot || slot >= (p+1)*harness.Slots/allPartitions {
				t.Errorf("partition %d is in slot %d", p, slot)
			}
			have[c.Master(slot)]++
		}
		for n, partitions := range have {
			if partitions < 5 || partitions > 6 {
				t.Errorf("%s has %d of 16 partitions", n.Name, partitions)
			}
		}
	})

	problems, err := e.CheckSettings(t.Context())
	if err != nil || len(problems) != 3 { // of each master: replicas, and none must follow
		t.Errorf("%q, %v", problems, err)
	}

	t.Run("holds end in every way", func(t *testing.T) {
		stop := runExpirer(t, e, engine.ExpirerConfig{})
		defer stop()
		drops := everywhere(t, e, 10, hold(time.Second), limit(2))
		for _, d := range drops {
			bought := reserve(t, e, engine.ReserveRequest{Drop: d, User: 1, Key: "k"})
			cancelled := reserve(t, e, engine.ReserveRequest{Drop: d, User: 2})
			reserve(t, e, engine.ReserveRequest{Drop: d, User: 3}) // lapses
			if _, err := e.Purchase(t.Context(), bought.ID); err != nil {
				t.Fatal(err)
			}
			for _, n := range c.Nodes {
				if d%8 != 0 { // some of the time
					break
				}
				if err := n.Redis().ScriptFlush(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := e.Cancel(t.Context(), cancelled.ID); err != nil {
				t.Fatal(err)
			}
			if again := reserve(t, e, engine.ReserveRequest{Drop: d, User: 1, Key: "k"}); again.ID != bought.ID {
				t.Fatalf("drop %d: %+v", d, again)
			}
		}
		harness.Eventually(t, 10*time.Second, func() error {
			for _, d := range drops {
				if err := stockIs(t, e, d, 9, 0, 1); err != nil {
					return fmt.Errorf("drop %d: %w", d, err)
				}
			}
			return nil
		})
	})

	t.Run("expired events of all masters, and of one that joins", func(t *testing.T) {
		stop := runExpirer(t, e, engine.ExpirerConfig{NoSweep: true})
		defer stop()
		hears := func(nodes ...*harness.Node) {
			t.Helper()
			harness.Eventually(t, 10*time.Second, func() error {
				for _, n := range nodes {
					if subscribed := n.Redis().PubSubNumPat(t.Context()).Val(); subscribed != 1 {
						return fmt.Errorf("%s has %d subscribers", n.Name, subscribed)
					}
				}
				return nil
			})
		}
		lapse := func(drops ...int64) {
			t.Helper()
			for _, d := range drops {
				reserve(t, e, engine.ReserveRequest{Drop: d, User: 9})
			}
			harness.Eventually(t, 15*time.Second, func() error {
				for _, d := range drops {
					if err := stockIs(t, e, d, 5, 0, 0); err != nil {
						return fmt.Errorf("drop %d: %w", d, err)
					}
				}
				return nil
			})
		}
		drops := make([]int64, allPartitions)
		for i := range drops {
			drops[i] = int64(101 + i)
			open(t, e, drops[i], 5, hold(300*time.Millisecond))
		}
		hears(c.Nodes[:3]...)
		lapse(drops...)

		joined := c.AddMaster()
		c.MoveSlot(slotOf(c, drops[0]), joined)
		hears(append(c.Nodes[:3:3], joined)...)
		harness.Eventually(t, 10*time.Second, func() error { // it knows by now whose slot it is
			r, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: drops[0], User: 1})
			if err == nil {
				_, err = e.Cancel(t.Context(), r.ID)
			}
			return err
		})
		lapse(drops[0])
	})

	t.Run("events", func(t *testing.T) {
		more := make([]int64, allPartitions)
		for i := range more {
			more[i] = int64(201 + i)
			open(t, e, more[i], 5)
		}
		listenAlong(t, e).hears(t, e, 5*time.Second, more...)
	})
}

func TestSlotMovesDuringASale(t *testing.T) {
	t.Parallel()
	c := harness.OwnCluster(t, harness.ClusterOptions{})
	e := startEngine(t, c.RedisURL, c.Prefix)
	runExpirer(t, e, engine.ExpirerConfig{})
	drops := everywhere(t, e, 100_000, limit(2))
	slot := slotOf(c, drops[0])
	r := startRush(t, e, 16, drops[0], drops[1], drops[8])
	r.sellsOn(t, 10*time.Second, 20)
	for range 3 {
		to := otherMaster(c, slot)
		c.MoveSlot(slot, to)
		r.sellsOn(t, 10*time.Second, 20)
	}
	r.stop()
	r.settled(t, c.Redis(), false)
}

// A slot on its way is the one state in which a key can be there for one command of
// a script and not for the next: whatever has left by then, nothing is half done.
func TestScriptsInAMovingSlot(t *testing.T) {
	t.Parallel()
	c := harness.OwnCluster(t, harness.ClusterOptions{})
	e := startEngine(t, c.RedisURL, c.Prefix)
	client := c.Redis()
	const drop, units = 1, 10
	open(t, e, drop, units, hold(2*time.Second), limit(1))
	base := keyPrefix(&c.Env, drop)
	// Every key that the scripts name is there, so that none keeps them from beginning.
	if err := e.Ledger(client, "test").DeadLetter(t.Context(), 1, "0-1", "record", "test"); err != nil {
		t.Fatal(err)
	}
	bought := reserve(t, e, engine.ReserveRequest{Drop: drop, User: 1, Key: "k"})
	if _, err := e.Purchase(t.Context(), bought.ID); err != nil {
		t.Fatal(err)
	}
	at := reserve(t, e, engine.ReserveRequest{Drop: drop, User: 2})
	away := reserve(t, e, engine.ReserveRequest{Drop: drop, User: 3})
	unchanged := func(holds int64) {
		t.Helper()
		wantStock(t, e, drop, units-1-holds, holds, 1)
		if n := client.ZCard(t.Context(), base+"deadlines").Val(); n != holds {
			t.Errorf("%d deadlines, want %d", n, holds)
		}
		if n := client.HLen(t.Context(), base+"buyers:1").Val(); n != holds+1 {
			t.Errorf("%d buyers, want %d", n, holds+1)
		}
	}
	slot := slotOf(c, drop)
	m := c.Migrate(slot, otherMaster(c, slot))

	_, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: drop, User: 4, Key: "l"})
	wantErr(t, err, engine.ErrUnavailable)
	unchanged(2)
	m.MoveKeys(base + fmt.Sprintf("hold:%d:3", drop))
	_, err = e.Purchase(t.Context(), away.ID)
	wantErr(t, err, engine.ErrUnavailable)
	unchanged(2)
	if _, err = e.Cancel(t.Context(), at.ID); err != nil { // all it needs is there still
		t.Fatal(err)
	}
	unchanged(1)

	m.MoveKeys(base + "buyers:1")
	stop := runExpirer(t, e, engine.ExpirerConfig{})
	timer := time.NewTimer(time.Until(away.Deadline) + time.Second) // it would have been released
	defer timer.Stop()
	<-timer.C
	unchanged(1)

	// With the drop alone at the old master, the rest at the new one.
	for _, key := range m.Keys(100) {
		if key != base+"drop:1" {
			m.MoveKeys(key)
		}
	}
	timer.Reset(time.Second)
	<-timer.C
	unchanged(1)
	_, err = e.Purchase(t.Context(), away.ID)
	wantErr(t, err, engine.ErrUnavailable)
	m.MoveKeys(m.Keys(100)...)
	m.Finish()
	harness.Eventually(t, 10*time.Second, func() error { return stockIs(t, e, drop, units-1, 0, 1) })
	stop()
	unchanged(0)
	if n := client.XLen(t.Context(), base+"dead").Val(); n != 1 {
		t.Errorf("%d dead letters", n)
	}
	_, err = e.Purchase(t.Context(), away.ID)
	wantErr(t, err, engine.ErrExpired)
	reserve(t, e, engine.ReserveRequest{Drop: drop, User: 3}) // its limit is free again
	_, err = e.Reserve(t.Context(), engine.ReserveRequest{Drop: drop, User: 1})
	wantErr(t, err, engine.ErrLimitReached)
}

func TestMasterIsKilledDuringASale(t *testing.T) {
	t.Parallel()
	c := harness.OwnCluster(t, harness.ClusterOptions{})
	e := startEngine(t, c.RedisURL, c.Prefix)
	runExpirer(t, e, engine.ExpirerConfig{})
	heard := listenAlong(t, e)
	drops := everywhere(t, e, 100_000)
	r := startRush(t, e, 16, drops...)
	r.sellsOn(t, 10*time.Second, 3)
	slot := slotOf(c, drops[0])
	served := map[int64]*harness.Node{}
	for _, d := range drops {
		served[d] = c.Master(slotOf(c, d))
	}
	dead := served[drops[0]]
	if n := e.RefusingWrites(t.Context()); n != 0 {
		t.Errorf("%d partitions take no writes", n)
	}
	dead.Kill()
	// Those of the dead one at most, until its replica takes its place: the instance is of use still.
	if n := e.RefusingWrites(t.Context()); n == e.Partitions() {
		t.Errorf("%d of %d partitions take no writes", n, e.Partitions())
	}
	r.sellsOnOf(t, 5*time.Second, 3, func(d int64) bool { return served[d] != dead })
	promoted := c.AwaitMaster(slot, dead, 15*time.Second)
	r.sellsOn(t, 10*time.Second, 3)
	if err := e.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	dead.Start()
	harness.Eventually(t, 10*time.Second, func() error {
		if replicas := c.Replicas(promoted); len(replicas) != 1 || replicas[0] != dead {
			return errors.New("the old master does not follow the new one")
		}
		return nil
	})
	r.sellsOn(t, 10*time.Second, 3)
	r.stop()
	heard.hears(t, e, 10*time.Second, drops...)
	r.settled(t, c.Redis(), true)
}
