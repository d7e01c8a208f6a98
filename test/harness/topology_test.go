package harness

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestOwnSentinel(t *testing.T) {
	t.Parallel()
	s := OwnSentinel(t, SentinelOptions{})
	client := s.Redis()
	if err := client.Set(t.Context(), "k", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	first := s.Primary()
	if first != s.Nodes[0] {
		t.Fatalf("%s is the primary", first.Name)
	}

	second := s.Failover()
	if role, err := client.Do(t.Context(), "role").Slice(); err != nil || role[0] != "master" {
		t.Errorf("after the fail-over the client is at %v, %v", role, err)
	}
	if err := second.Redis().Set(t.Context(), "k", "new", 0).Err(); err != nil {
		t.Error(err)
	}
	if got := client.Get(t.Context(), "k").Val(); got != "new" {
		t.Errorf("after the fail-over the client reads %q, from the primary of before", got)
	}
	Eventually(t, 10*time.Second, func() error { return client.Set(t.Context(), "k", "2", 0).Err() })
	if got := second.Redis().Get(t.Context(), "k").Val(); got != "2" {
		t.Errorf("the new primary has %q", got)
	}
	s.AwaitReplicas()

	second.Pause()
	third := s.AwaitFailover(second, 20*time.Second)
	Eventually(t, 10*time.Second, func() error { return client.Set(t.Context(), "k", "3", 0).Err() })
	second.Resume()
	Eventually(t, 15*time.Second, func() error {
		if got := second.Redis().Get(t.Context(), "k").Val(); got != "3" {
			return fmt.Errorf("the old primary has %q", got)
		}
		return nil
	})
	if third == second || !second.Answers() {
		t.Error("the paused node is the primary, or does not go on")
	}
}

func TestOwnCluster(t *testing.T) {
	t.Parallel()
	c := OwnCluster(t, ClusterOptions{})
	client := c.Redis()
	const keys = 300
	name := func(i int) string { return fmt.Sprintf("{%d}:k", i) }
	for i := range keys {
		if err := client.Set(t.Context(), name(i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	whole := func() error {
		for i := range keys {
			if got, err := client.Get(t.Context(), name(i)).Int(); err != nil || got != i {
				return fmt.Errorf("%s: %d, %w", name(i), got, err)
			}
		}
		return nil
	}
	slot := c.Slot(name(1))

	joined := c.AddMaster()
	from := c.Master(slot)
	m := c.Migrate(slot, joined)
	if got := m.Keys(10); len(got) != 1 || got[0] != name(1) {
		t.Fatalf("slot %d has the keys %q", slot, got)
	}
	m.MoveKeys(m.Keys(10)...)
	err := from.Redis().Get(t.Context(), name(1)).Err()
	if addr, ok := redis.IsAskError(err); !ok || addr != joined.Addr() {
		t.Errorf("the source of a migration answers %v", err)
	}
	if err := whole(); err != nil {
		t.Errorf("during a migration: %v", err)
	}
	m.Finish()
	c.MoveSlot(slot, from)
	if got := c.Master(slot); got != from {
		t.Errorf("%s serves the slot, want %s", got.Name, from.Name)
	}

	promoted := c.Takeover(slot)
	Eventually(t, 10*time.Second, whole)
	Eventually(t, 15*time.Second, func() error {
		if r := c.Replicas(promoted); len(r) != 1 || r[0] != from {
			return errors.New("the old master is no replica")
		}
		if info, err := from.info(); err != nil || info["master_link_status"] != "up" {
			return fmt.Errorf("the old master is not in step: %w", err)
		}
		return nil
	})
	promoted.Kill()
	if got := c.AwaitMaster(slot, promoted, 20*time.Second); got != from {
		t.Errorf("%s serves the slot, want %s", got.Name, from.Name)
	}
	Eventually(t, 10*time.Second, whole)
	promoted.Start()
	Eventually(t, 10*time.Second, func() error {
		if len(c.Replicas(from)) != 1 {
			return errors.New("the killed master does not come back as a replica")
		}
		return nil
	})
}

func TestOwnClusterOfTwoMastersAlone(t *testing.T) {
	t.Parallel()
	c := OwnCluster(t, ClusterOptions{Masters: 2, NoReplicas: true})
	if len(c.Nodes) != 2 {
		t.Fatalf("%d nodes, want 2", len(c.Nodes))
	}
	client := c.Redis()
	for i, slot := range []int{0, Slots/2 - 1, Slots / 2, Slots - 1} {
		if master := c.Master(slot); master != c.Nodes[i/2] {
			t.Errorf("%s serves slot %d", master.Name, slot)
		}
	}
	for i := range 20 {
		if err := client.Set(t.Context(), strconv.Itoa(i), i, 0).Err(); err != nil {
			t.Error(err)
		}
	}
}
