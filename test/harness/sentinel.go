package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// SentinelMaster is the name by which the Sentinels know the primary.
const SentinelMaster = "holdfast"

// sentinelQuorum Sentinels must agree that the primary is down.
const sentinelQuorum = 2

// SentinelOptions of a test's private topology.
type SentinelOptions struct {
	// RedisArgs are further arguments of the data nodes. Defaults to none.
	RedisArgs []string
}

// SentinelEnv is a primary with two replicas, watched by three Sentinels,
// which the test may kill, pause and start again. All are this machine's
// redis-server, on loopback, with Holdfast's settings; DatabaseURL is empty
// (see [New] and [Own]).
//
// A primary takes writes only while one replica at least follows it
// (min-replicas-to-write 1): one that is cut off sells nothing more after two
// seconds.
type SentinelEnv struct {
	Env               // RedisURL is redis-sentinel://host:port,…/0?master=name
	Nodes     []*Node // the first began as the primary
	Sentinels []*Node

	clients []*redis.Client // that Redis gave
}

// OwnSentinel starts the topology for one test and ends it with the test. It
// takes redis-server of the machine wherever the other servers come from, and
// fails where there is none.
func OwnSentinel(tb testing.TB, o SentinelOptions) *SentinelEnv {
	tb.Helper()
	s := &SentinelEnv{}
	args := append([]string{
		"--min-replicas-to-write", "1",
		// Replicas report each second: at 1, a report that is a little late
		// would have writes refused.
		"--min-replicas-max-lag", "2",
		"--repl-diskless-sync-delay", "0",
		"--repl-ping-replica-period", "1",
		"--repl-timeout", "5",
	}, o.RedisArgs...)
	s.Nodes = append(s.Nodes, startNode(tb, nodeConfig{name: "node 0", args: args}))
	host, port, err := net.SplitHostPort(s.Nodes[0].addr)
	if err != nil {
		tb.Fatalf("harness: %v", err)
	}
	for i := range 2 {
		replica := append([]string{"--replicaof", host + " " + port}, args...)
		s.Nodes = append(s.Nodes, startNode(tb, nodeConfig{name: fmt.Sprintf("node %d", i+1), args: replica}))
	}
	config := strings.NewReplacer("NAME", SentinelMaster, "HOST", host, "PORT", port, "QUORUM", strconv.Itoa(sentinelQuorum)).Replace(
		"sentinel monitor NAME HOST PORT QUORUM\n" +
			"sentinel down-after-milliseconds NAME 1000\n" +
			"sentinel failover-timeout NAME 4000\n" +
			"sentinel parallel-syncs NAME 2\n")
	for i := range 3 {
		n := startNode(tb, nodeConfig{name: fmt.Sprintf("sentinel %d", i), sentinel: config})
		// By default they look around every ten seconds and meet each other
		// within two. A Sentinel that does not know the command is slower.
		_ = n.do("sentinel", "debug", "info-period", "500", "publish-period", "200", "ask-period", "200").Err()
		s.Sentinels = append(s.Sentinels, n)
	}
	s.Env = Env{
		tb: tb, Prefix: "own",
		RedisURL: "redis-sentinel://" + strings.Join(addrs(s.Sentinels), ",") + "/0?master=" + SentinelMaster,
	}
	Eventually(tb, startTimeout, s.settled)
	return s
}

// settled is nil when the replicas follow the primary and each Sentinel knows
// all others: before, nothing can be taken over.
func (s *SentinelEnv) settled() error {
	for _, n := range s.Sentinels {
		about, err := n.do("sentinel", "master", SentinelMaster).StringSlice()
		if err != nil {
			return err
		}
		known := pairs(about)
		if known["num-slaves"] != "2" || known["num-other-sentinels"] != "2" || known["flags"] != "master" {
			return fmt.Errorf("%s knows %s replicas and %s sentinels, %s", n.Name, known["num-slaves"], known["num-other-sentinels"], known["flags"])
		}
	}
	return s.inStep()
}

// AwaitReplicas waits until both replicas follow the present primary, after
// which it may fail, and all clients are at that.
func (s *SentinelEnv) AwaitReplicas() {
	s.tb.Helper()
	Eventually(s.tb, 20*time.Second, s.inStep)
	s.awaitClients()
}

// awaitClients waits until all Sentinels name the same primary and the clients
// that Redis gave are there. Until then they may be at the one of before, which
// answers what is read with what it was.
func (s *SentinelEnv) awaitClients() {
	s.tb.Helper()
	Eventually(s.tb, 20*time.Second, func() error {
		primary, err := s.primary()
		if err != nil {
			return err
		}
		for _, sentinel := range s.Sentinels {
			if !sentinel.Answers() {
				continue
			}
			at, err := sentinel.names()
			if err != nil {
				return err
			}
			if at != primary.addr {
				return fmt.Errorf("%s names %s as the primary, another %s", sentinel.Name, at, primary.addr)
			}
		}
		for _, client := range s.clients {
			ctx, cancel := context.WithTimeout(context.Background(), nodeTimeout)
			about, err := client.Info(ctx, "server").Result()
			cancel()
			if err != nil {
				return err
			}
			if port := fields(about)["tcp_port"]; !strings.HasSuffix(primary.addr, ":"+port) {
				return fmt.Errorf("a client is at port %s still, %s is the primary", port, primary.Name)
			}
		}
		return nil
	})
}

// names is the address that a Sentinel gives for the primary.
func (n *Node) names() (string, error) {
	at, err := n.do("sentinel", "get-master-addr-by-name", SentinelMaster).StringSlice()
	if err != nil {
		return "", fmt.Errorf("%s: %w", n.Name, err)
	}
	if len(at) != 2 {
		return "", fmt.Errorf("%s knows no %s", n.Name, SentinelMaster)
	}
	return net.JoinHostPort(at[0], at[1]), nil
}

func (s *SentinelEnv) inStep() error {
	primary, err := s.primary()
	if err != nil {
		return err
	}
	for _, n := range s.Nodes {
		info, err := n.info()
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		if n == primary && info["connected_slaves"] != "2" || n != primary && info["master_link_status"] != "up" {
			return fmt.Errorf("%s is not in step", n.Name)
		}
	}
	return nil
}

func pairs(flat []string) map[string]string {
	all := map[string]string{}
	for i := 0; i+1 < len(flat); i += 2 {
		all[flat[i]] = flat[i+1]
	}
	return all
}

// Redis is a client that follows the primary, closed at the test's end. It
// sends nothing twice and heeds the contexts' deadlines.
func (s *SentinelEnv) Redis() redis.UniversalClient {
	s.tb.Helper()
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: SentinelMaster, SentinelAddrs: addrs(s.Sentinels), Protocol: 2, MaxRetries: -1, DialerRetries: 1,
		ContextTimeoutEnabled: true, DialTimeout: nodeTimeout, ReadTimeout: nodeTimeout, WriteTimeout: nodeTimeout,
	})
	s.tb.Cleanup(func() { _ = client.Close() })
	s.clients = append(s.clients, client)
	return client
}

// Primary is the node that the Sentinels present to clients. The test fails
// where none does.
func (s *SentinelEnv) Primary() *Node {
	s.tb.Helper()
	n, err := s.primary()
	if err != nil {
		s.tb.Fatalf("harness: %v", err)
	}
	return n
}

func (s *SentinelEnv) primary() (*Node, error) {
	for _, sentinel := range s.Sentinels {
		if !sentinel.Answers() {
			continue
		}
		at, err := sentinel.names()
		if err != nil {
			continue
		}
		for _, n := range s.Nodes {
			if n.addr == at {
				return n, nil
			}
		}
	}
	return nil, errors.New("no Sentinel names a primary")
}

// Failover has the Sentinels put a replica in the place of the primary, which
// lives on as a replica, and returns the new primary once it takes writes and
// all clients are at it.
func (s *SentinelEnv) Failover() *Node {
	s.tb.Helper()
	old := s.Primary()
	Eventually(s.tb, 10*time.Second, func() error { // refused while another is under way
		for _, sentinel := range s.Sentinels {
			if sentinel.Answers() {
				return sentinel.do("sentinel", "failover", SentinelMaster).Err()
			}
		}
		return errors.New("no Sentinel answers")
	})
	now := s.AwaitFailover(old, 20*time.Second)
	s.awaitClients()
	return now
}

// AwaitFailover waits until another node than old is the primary and takes
// writes, and returns it.
func (s *SentinelEnv) AwaitFailover(old *Node, within time.Duration) *Node {
	s.tb.Helper()
	var now *Node
	Eventually(s.tb, within, func() (err error) {
		if now, err = s.primary(); err != nil {
			return err
		}
		if now == old {
			return fmt.Errorf("%s is the primary still", old.Name)
		}
		return now.takesWrites()
	})
	return now
}

// takesWrites is nil where the node is a primary that refuses no writes.
func (n *Node) takesWrites() error {
	return n.do("del", "harness:{no}:such:key").Err()
}
