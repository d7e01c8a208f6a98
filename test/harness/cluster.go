package harness

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Slots is the number of hash slots of a cluster.
const Slots = 16384

// ClusterOptions of a test's private cluster.
type ClusterOptions struct {
	// RedisArgs are further arguments of each node. Defaults to none.
	RedisArgs []string

	// Masters is how many masters begin with equal shares of the slots.
	// Defaults to 3.
	Masters int

	// NoReplicas leaves the replicas out. Defaults to one for each master.
	NoReplicas bool
}

// ClusterEnv is a cluster of masters, each with a replica, whose nodes
// the test may kill, pause and start again. All are this machine's
// redis-server, on loopback, with Holdfast's settings; DatabaseURL is empty
// (see [New] and [Own]).
type ClusterEnv struct {
	Env           // RedisURL is redis-cluster://host:port,…, of the first masters
	Nodes []*Node // the first half (0 … 2 of three) began as masters of equal shares of the slots, the others as their replicas, in order

	args []string
}

// OwnCluster starts the cluster for one test and ends it with the test. It
// takes redis-server of the machine wherever the other servers come from, and
// fails where there is none.
func OwnCluster(tb testing.TB, o ClusterOptions) *ClusterEnv {
	tb.Helper()
	c := &ClusterEnv{Env: Env{tb: tb, Prefix: "own"}}
	c.args = append([]string{
		"--cluster-node-timeout", "1500",
		// A drop needs its own slot alone: those of other masters sell on
		// while one master is being replaced.
		"--cluster-require-full-coverage", "no",
		// However long it has been without its master, a replica may take over:
		// tests would else depend on how long they kept it down.
		"--cluster-replica-validity-factor", "0",
		// Who follows whom changes by the test's doing alone, and a master whose
		// last slot leaves stays one.
		"--cluster-allow-replica-migration", "no",
		// min-replicas-to-write stays 0: with one replica each, a master that
		// has just been promoted has none. A master that is cut off stops by
		// itself, when it has not heard of most others for the node timeout.
		"--repl-diskless-sync-delay", "0",
		"--repl-ping-replica-period", "1",
	}, o.RedisArgs...)
	n := o.Masters
	if n == 0 {
		n = 3
	}
	c.Nodes = make([]*Node, 2*n)
	if o.NoReplicas {
		c.Nodes = c.Nodes[:n]
	}
	for i := range c.Nodes {
		c.Nodes[i] = c.startNode(i)
	}
	masters, replicas := c.Nodes[:n], c.Nodes[n:]
	for i, m := range masters {
		m.must("cluster", "addslotsrange", i*Slots/n, (i+1)*Slots/n-1)
	}
	c.RedisURL = "redis-cluster://" + strings.Join(addrs(masters), ",")
	c.meet(c.Nodes...)
	for i, r := range replicas {
		r.must("cluster", "replicate", masters[i].ID)
	}
	Eventually(tb, startTimeout, func() error { return c.settled(masters, replicas) })
	return c
}

// startNode starts the node of index i, which knows no other yet.
func (c *ClusterEnv) startNode(i int) *Node {
	c.tb.Helper()
	n := startNode(c.tb, nodeConfig{name: fmt.Sprintf("node %d", i), args: c.args, cluster: true})
	// Distinct from the start: two nodes of one epoch have to settle whose
	// view of a slot counts.
	n.must("cluster", "set-config-epoch", i+1)
	id, err := n.do("cluster", "myid").Text()
	n.check(err)
	n.ID = id
	return n
}

// meet makes all nodes know each other.
func (c *ClusterEnv) meet(nodes ...*Node) {
	c.tb.Helper()
	for i, n := range nodes {
		host, port, err := net.SplitHostPort(n.addr)
		n.check(err)
		for _, other := range nodes[:i] {
			other.must("cluster", "meet", host, port, n.bus)
		}
	}
	Eventually(c.tb, startTimeout, func() error {
		for _, n := range nodes {
			known, err := n.view()
			if err != nil {
				return err
			}
			for _, other := range nodes {
				if of, ok := known[other.ID]; !ok || slices.Contains(of.flags, "handshake") {
					return fmt.Errorf("%s does not know %s", n.Name, other.Name)
				}
			}
		}
		return nil
	})
}

// settled is nil when all nodes agree and the replicas are in step.
func (c *ClusterEnv) settled(masters, replicas []*Node) error {
	for i, r := range replicas {
		info, err := r.info()
		if err != nil || info["role"] != "slave" || info["master_link_status"] != "up" {
			return fmt.Errorf("%s is not in step: %w", r.Name, err)
		}
		for _, n := range c.Nodes {
			known, err := n.view()
			if err != nil {
				return err
			}
			if known[r.ID].master != masters[i].ID || len(known[masters[i].ID].slots) == 0 {
				return fmt.Errorf("%s does not know of %s and its replica", n.Name, masters[i].Name)
			}
		}
	}
	for _, n := range c.Nodes {
		if err := n.stateOK(); err != nil {
			return err
		}
	}
	return nil
}

// stateOK is nil where the node takes part: a fresh one waits two seconds.
func (n *Node) stateOK() error {
	text, err := n.do("cluster", "info").Text()
	if err != nil || fields(text)["cluster_state"] != "ok" {
		return fmt.Errorf("%s: cluster state %s, %w", n.Name, fields(text)["cluster_state"], err)
	}
	return nil
}

// Redis is a client of the cluster, closed at the test's end. Reads it may
// send twice.
func (c *ClusterEnv) Redis() redis.UniversalClient {
	c.tb.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: addrs(c.Nodes), Protocol: 2, DialerRetries: 1, ContextTimeoutEnabled: true,
		DialTimeout: nodeTimeout, ReadTimeout: nodeTimeout, WriteTimeout: nodeTimeout,
		// A master that is gone answers no MOVED: only a look at the others
		// tells who took its place.
		ClusterStateReloadInterval: time.Second,
	})
	c.tb.Cleanup(func() { _ = client.Close() })
	return client
}

// Slot is the slot of a key, as the cluster has it.
func (c *ClusterEnv) Slot(key string) int {
	c.tb.Helper()
	for _, n := range c.Nodes {
		if n.Answers() {
			slot, err := n.do("cluster", "keyslot", key).Int()
			n.check(err)
			return slot
		}
	}
	c.tb.Fatal("harness: no node answers")
	return 0
}

// Master is the node that serves a slot: of those that answer and take
// themselves for its master, the one of the latest epoch. The test fails
// where there is none.
func (c *ClusterEnv) Master(slot int) *Node {
	c.tb.Helper()
	n, err := c.master(slot)
	if err != nil {
		c.tb.Fatalf("harness: %v", err)
	}
	return n
}

func (c *ClusterEnv) master(slot int) (*Node, error) {
	var found *Node
	var epoch int64 = -1
	for _, n := range c.Nodes {
		if !n.Answers() {
			continue
		}
		known, err := n.view()
		if err != nil {
			continue // not master enough
		}
		if self := known[n.ID]; self.epoch > epoch && slices.Contains(self.flags, "master") && self.has(slot) {
			found, epoch = n, self.epoch
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no node serves slot %d", slot)
	}
	return found, nil
}

// AwaitMaster waits until another node than old serves the slot and all nodes
// that answer know it, and returns it.
func (c *ClusterEnv) AwaitMaster(slot int, old *Node, within time.Duration) *Node {
	c.tb.Helper()
	var now *Node
	Eventually(c.tb, within, func() (err error) {
		if now, err = c.master(slot); err != nil {
			return err
		}
		if now == old {
			return fmt.Errorf("%s serves slot %d still", old.Name, slot)
		}
		return c.knownMaster(slot, now)
	})
	return now
}

func (c *ClusterEnv) knownMaster(slot int, master *Node) error {
	for _, n := range c.Nodes {
		if !n.Answers() {
			continue
		}
		known, err := n.view()
		if err != nil {
			return err
		}
		if !known[master.ID].has(slot) {
			return fmt.Errorf("%s does not know that %s serves slot %d", n.Name, master.Name, slot)
		}
	}
	return nil
}

// Replicas are the replicas, as itself sees it, of a master.
func (c *ClusterEnv) Replicas(master *Node) []*Node {
	c.tb.Helper()
	known, err := master.view()
	master.check(err)
	var all []*Node
	for _, n := range c.Nodes {
		if known[n.ID].master == master.ID {
			all = append(all, n)
		}
	}
	return all
}

// Takeover puts the slot's replica in its master's place at once, with the
// consent of no other node, as an operator does who has lost a data centre
// (CLUSTER FAILOVER TAKEOVER), and returns the new master. The old one, if it
// lives, becomes its replica.
func (c *ClusterEnv) Takeover(slot int) *Node {
	c.tb.Helper()
	old := c.Master(slot)
	replicas := c.Replicas(old)
	if len(replicas) == 0 {
		c.tb.Fatalf("harness: %s has no replica", old.Name)
	}
	return c.TakeoverBy(replicas[0], slot)
}

// TakeoverBy is Takeover by a given replica; its master need not answer.
func (c *ClusterEnv) TakeoverBy(replica *Node, slot int) *Node {
	c.tb.Helper()
	replica.must("cluster", "failover", "takeover")
	Eventually(c.tb, 15*time.Second, func() error {
		if now, err := c.master(slot); err != nil || now != replica {
			return fmt.Errorf("%s does not serve slot %d yet: %w", replica.Name, slot, err)
		}
		return c.knownMaster(slot, replica)
	})
	return replica
}

// AddMaster has a further master join, without slots: see MoveSlot. All nodes
// must answer.
func (c *ClusterEnv) AddMaster() *Node {
	c.tb.Helper()
	n := c.startNode(len(c.Nodes))
	c.Nodes = append(c.Nodes, n)
	c.meet(c.Nodes...)
	Eventually(c.tb, startTimeout, func() error {
		known, err := n.view()
		if err != nil {
			return err
		}
		served := 0
		for _, k := range known {
			for _, r := range k.slots {
				served += r[1] - r[0] + 1
			}
		}
		if served != Slots {
			return fmt.Errorf("%s knows who serves %d slots", n.Name, served)
		}
		return n.stateOK()
	})
	return n
}

// known is what a node knows of another, or of itself.
type known struct {
	flags  []string // "master", "slave", "fail" …
	master string   // of a replica: its master's ID
	epoch  int64
	slots  [][2]int // from, to
}

func (k known) has(slot int) bool {
	return slices.ContainsFunc(k.slots, func(r [2]int) bool { return r[0] <= slot && slot <= r[1] })
}

// view is what the node knows of the cluster, by ID.
func (n *Node) view() (map[string]known, error) {
	text, err := n.do("cluster", "nodes").Text()
	if err != nil {
		return nil, err
	}
	all := map[string]known{}
	for line := range strings.Lines(text) {
		// id addr flags master ping-sent pong-received epoch link slot …
		f := strings.Fields(line)
		if len(f) < 8 {
			return nil, errors.New("CLUSTER NODES: " + line)
		}
		k := known{flags: strings.Split(f[2], ",")}
		if f[3] != "-" {
			k.master = f[3]
		}
		if k.epoch, err = strconv.ParseInt(f[6], 10, 64); err != nil {
			return nil, err
		}
		for _, slots := range f[8:] {
			if strings.HasPrefix(slots, "[") { // on its way from or to another
				continue
			}
			first, last, ranged := strings.Cut(slots, "-")
			if !ranged {
				last = first
			}
			from, err1 := strconv.Atoi(first)
			to, err2 := strconv.Atoi(last)
			if err := errors.Join(err1, err2); err != nil {
				return nil, err
			}
			k.slots = append(k.slots, [2]int{from, to})
		}
		all[f[0]] = k
	}
	return all, nil
}
