package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/cmd/devservers"
)

// Node is one redis-server of a topology: a data node or a Sentinel. The test
// may kill, stop, pause and start it; what is already in the wished state is
// left in it. Data and address stay.
type Node struct {
	Name string // in messages: "node 2", "sentinel 0"
	ID   string // of a cluster's node, as CLUSTER NODES has it; else ""

	tb     testing.TB
	server *devservers.Redis
	addr   string
	bus    string // port of the cluster bus; "" outside a cluster
	client *redis.Client

	mu     sync.Mutex
	paused bool
}

// nodeConfig is what startNode makes a node of.
type nodeConfig struct {
	name    string
	args    []string
	cluster bool
	// sentinel is the configuration of a Sentinel; "" for a data node.
	sentinel string
}

// startNode starts a node on free ports, and kills it at the test's end.
func startNode(tb testing.TB, cfg nodeConfig) *Node {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	dir := filepath.Join(tb.TempDir(), "node") // before the node's own cleanup, so that it is removed after
	const tries = 5
	var err error
	for try := range tries {
		var n *Node
		if n, err = newNode(tb, cfg, fmt.Sprint(dir, try)); err != nil {
			tb.Fatalf("harness: %s: %v", cfg.name, err)
		}
		if err = n.server.Start(ctx); err == nil {
			tb.Cleanup(n.close)
			return n
		}
		n.close()
		if !strings.Contains(err.Error(), "Address already in use") {
			break
		}
	}
	tb.Fatalf("harness: %s: %v", cfg.name, err)
	return nil
}

func newNode(tb testing.TB, cfg nodeConfig, dir string) (*Node, error) {
	tb.Helper()
	n := &Node{Name: cfg.name, tb: tb, addr: net.JoinHostPort("127.0.0.1", FreePort(tb))}
	node := devservers.NodeConfig{
		Dir: dir, Addr: n.addr, Args: cfg.args, Sentinel: cfg.sentinel,
		Died: func(err error) { tb.Errorf("harness: %s: %v", cfg.name, err) },
	}
	if cfg.cluster {
		n.bus = FreePort(tb)
		// By default the bus is 10,000 above, which may be an ephemeral port.
		node.Args = append([]string{"--cluster-enabled", "yes", "--cluster-port", n.bus}, cfg.args...)
	}
	var err error
	if n.server, err = devservers.NewNode(node); err != nil {
		return nil, err
	}
	n.client = redis.NewClient(&redis.Options{
		Addr: n.addr, Username: "default", Password: cutOffPassword, Protocol: 2, PoolSize: 8, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
		DialTimeout: nodeTimeout, ReadTimeout: nodeTimeout, WriteTimeout: nodeTimeout,
	})
	return n, nil
}

// cutOffPassword is what a node asks for that is cut off. The harness's own
// connections always give it; a node that asks for none takes any.
const cutOffPassword = "cut-off"

// CutOff has the other servers lose the node, for good until Rejoin: it asks
// newcomers for a password that they do not know, and closes what replicas and
// Sentinels have open. Clients that are connected stay, and find it alive: the
// network is divided, with clients on both sides.
func (n *Node) CutOff() {
	n.tb.Helper()
	n.must("config", "set", "requirepass", cutOffPassword)
	n.must("client", "kill", "type", "replica")
	ctx, cancel := context.WithTimeout(context.Background(), nodeTimeout)
	defer cancel()
	list, err := n.client.ClientList(ctx).Result()
	n.check(err)
	for line := range strings.Lines(list) {
		if id, rest, _ := strings.Cut(strings.TrimPrefix(line, "id="), " "); strings.Contains(rest, " name=sentinel-") {
			n.must("client", "kill", "id", id)
		}
	}
}

// Rejoin lets the other servers reach the node again.
func (n *Node) Rejoin() { n.tb.Helper(); n.must("config", "set", "requirepass", "") }

// nodeTimeout bounds each call of the harness's own to a node.
const nodeTimeout = 2 * time.Second

func (n *Node) close() {
	err := errors.Join(n.client.Close(), n.server.Kill())
	if err != nil {
		n.tb.Errorf("harness: %s: %v", n.Name, err)
	}
}

func addrs(nodes []*Node) []string {
	all := make([]string, len(nodes))
	for i, n := range nodes {
		all[i] = n.addr
	}
	return all
}

// Addr is where the node listens, host:port.
func (n *Node) Addr() string { return n.addr }

// Redis is a client of this node alone, which the harness closes. It sends
// nothing twice and heeds the contexts' deadlines.
func (n *Node) Redis() *redis.Client { return n.client }

// Answers tells whether the node runs and is not paused.
func (n *Node) Answers() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.paused && n.server.PID() != 0
}

// Kill ends the node as kill -9 does.
func (n *Node) Kill() {
	n.tb.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.paused = false
	n.check(n.server.Kill())
}

// Stop has the node end in order.
func (n *Node) Stop() {
	n.tb.Helper()
	n.Resume()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	n.check(n.server.Stop(ctx))
}

// Start starts the node again and waits until it answers, its data loaded.
func (n *Node) Start() {
	n.tb.Helper()
	n.Resume()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	n.check(n.server.Start(ctx))
}

// Pause has the node stand still (SIGSTOP): its connections stay open and
// what is sent to it waits.
func (n *Node) Pause() { n.tb.Helper(); n.signal(syscall.SIGSTOP, true) }

// Resume has a paused node go on (SIGCONT), with all that was sent meanwhile.
func (n *Node) Resume() { n.tb.Helper(); n.signal(syscall.SIGCONT, false) }

func (n *Node) signal(sig syscall.Signal, paused bool) {
	n.tb.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	pid := n.server.PID()
	if n.paused == paused || pid == 0 {
		return
	}
	n.check(syscall.Kill(pid, sig))
	n.paused = paused
}

// do sends the node a command.
func (n *Node) do(args ...any) *redis.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), nodeTimeout)
	defer cancel()
	return n.client.Do(ctx, args...)
}

// must sends the node a command and fails the test where that is refused.
func (n *Node) must(args ...any) {
	n.tb.Helper()
	if err := n.do(args...).Err(); err != nil {
		n.tb.Fatalf("harness: %s: %v: %v", n.Name, args, err)
	}
}

// info reads fields of the node's INFO replication.
func (n *Node) info() (map[string]string, error) {
	text, err := n.do("info", "replication").Text()
	if err != nil {
		return nil, err
	}
	return fields(text), nil
}

// fields reads lines of name:value.
func fields(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			all[name] = value
		}
	}
	return all
}

func (n *Node) check(err error) {
	n.tb.Helper()
	if err != nil {
		n.tb.Fatalf("harness: %s: %v", n.Name, err)
	}
}
