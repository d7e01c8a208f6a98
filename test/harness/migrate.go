package harness

import (
	"fmt"
	"net"
	"time"
)

// Migration is a slot on its way from one master to another, as redis-cli
// moves it: while it lasts the source asks clients on (ASK) for keys that have
// left, and both refuse (TRYAGAIN) what needs keys of both sides.
type Migration struct {
	Slot     int
	From, To *Node

	c *ClusterEnv
}

// Migrate begins to move a slot from its master to another. Nothing has moved
// yet: see MoveKeys and Finish.
func (c *ClusterEnv) Migrate(slot int, to *Node) *Migration {
	c.tb.Helper()
	m := &Migration{Slot: slot, From: c.Master(slot), To: to, c: c}
	if m.From == to {
		c.tb.Fatalf("harness: %s serves slot %d already", to.Name, slot)
	}
	to.must("cluster", "setslot", slot, "importing", m.From.ID)
	m.From.must("cluster", "setslot", slot, "migrating", to.ID)
	return m
}

// Keys are up to most keys of the slot that are at the source still.
func (m *Migration) Keys(most int) []string {
	m.c.tb.Helper()
	keys, err := m.From.do("cluster", "getkeysinslot", m.Slot, most).StringSlice()
	m.From.check(err)
	return keys
}

// MoveKeys moves the given keys. Those that are gone meanwhile are left out.
func (m *Migration) MoveKeys(keys ...string) {
	m.c.tb.Helper()
	if len(keys) == 0 {
		return
	}
	host, port, err := net.SplitHostPort(m.To.addr)
	m.To.check(err)
	args := []any{"migrate", host, port, "", 0, nodeTimeout.Milliseconds(), "keys"}
	for _, k := range keys {
		args = append(args, k)
	}
	m.From.must(args...)
}

// Finish gives the slot to its new master. What keys are left must have been
// moved before, which the source insists on.
func (m *Migration) Finish() {
	m.c.tb.Helper()
	// The new master first: then no instant has nobody to serve the slot.
	m.To.must("cluster", "setslot", m.Slot, "node", m.To.ID)
	m.From.must("cluster", "setslot", m.Slot, "node", m.To.ID)
	Eventually(m.c.tb, 15*time.Second, func() error {
		if at, err := m.c.master(m.Slot); err != nil || at != m.To {
			return fmt.Errorf("slot %d is not with %s: %w", m.Slot, m.To.Name, err)
		}
		return m.c.knownMaster(m.Slot, m.To)
	})
}

// MoveSlot moves a slot with its keys to another master, live and a few keys
// at a time.
func (c *ClusterEnv) MoveSlot(slot int, to *Node) {
	c.tb.Helper()
	const atOnce = 20
	m := c.Migrate(slot, to)
	for keys := m.Keys(atOnce); len(keys) > 0; keys = m.Keys(atOnce) {
		m.MoveKeys(keys...)
	}
	m.Finish()
}
