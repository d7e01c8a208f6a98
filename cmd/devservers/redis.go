package devservers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// settings are what Holdfast needs of a Redis, as arguments of redis-server:
// every write is on disk before its answer, nothing is evicted, and expired
// keys are deleted, and told of, within moments.
var settings = []string{
	"--appendonly", "yes",
	"--appendfsync", "always",
	"--save", "",
	"--maxmemory-policy", "noeviction",
	"--notify-keyspace-events", "Ex",
	"--hz", "100",
	"--active-expire-effort", "10",
}

// RedisSettings are the settings, as arguments of redis-server, that every
// Redis of Holdfast's has.
func RedisSettings() []string { return append([]string{}, settings...) }

// Redis is a private redis-server. Start, Stop and Kill may follow each other
// in any order; the data and the address stay. Safe for concurrent use.
type Redis struct {
	bin        string
	dir        string // data, log, note of the run
	args       []string
	sentinel   string // configuration file; "" for a server that holds data
	timeout    time.Duration
	death      syscall.Signal // what it gets when its owner is killed
	log        *slog.Logger
	unexpected func(error)

	mu     sync.Mutex
	socket string // path; "" for TCP
	addr   string // host:port, chosen by the first start; "" for a socket
	child  *child // nil unless started
}

// URL is the server's address for redis.ParseURL: redis://127.0.0.1:port/0 or
// unix:///path/redis.sock.
func (r *Redis) URL() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.socket != "" {
		return "unix://" + r.socket
	}
	return "redis://" + r.addr + "/0"
}

// PID is the process id; 0 when the server does not run.
func (r *Redis) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.child == nil || r.child.ended() {
		return 0
	}
	return r.child.pid()
}

// Start starts the server and waits until it answers. A server that runs
// already is left as it is.
func (r *Redis) Start(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.child != nil && !r.child.ended() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	if err := r.endOrphan(ctx); err != nil {
		return err
	}
	if r.socket != "" || r.addr != "" {
		return r.start(ctx)
	}
	return onFreePort(func(addr string) error {
		r.addr = addr
		err := r.start(ctx)
		if err != nil {
			r.addr = ""
		}
		return err
	})
}

func (r *Redis) start(ctx context.Context) error {
	args := append([]string{"--dir", r.dir, "--daemonize", "no"}, settings...)
	if r.sentinel != "" { // it takes none of the settings of data
		args = []string{r.sentinel, "--sentinel", "--dir", r.dir, "--daemonize", "no"}
	}
	if r.socket != "" {
		args = append(args, "--port", "0", "--unixsocket", r.socket, "--unixsocketperm", "700")
	} else {
		host, port, err := net.SplitHostPort(r.addr)
		if err != nil {
			return fmt.Errorf("redis address: %w", err)
		}
		args = append(args, "--bind", host, "--port", port, "--protected-mode", "yes")
	}
	cmd := exec.Command(r.bin, append(args, r.args...)...)
	cmd.Dir = r.dir
	c, err := startChild("redis", cmd, r.death, filepath.Join(r.dir, "redis.log"))
	if err != nil {
		return err
	}
	r.child = c
	note := fmt.Sprintf("%d %s\n", c.pid(), r.socket+r.addr)
	err = os.WriteFile(r.note(), []byte(note), 0o600)
	if err == nil {
		err = c.ready(ctx, func(ctx context.Context) error { return ping(ctx, r.socket+r.addr) })
	}
	if err != nil {
		r.child = nil
		return errors.Join(err, c.kill())
	}
	c.onUnexpected(r.unexpected)
	return nil
}

// Stop has the server write what it holds and end. When ctx ends first it is
// killed. A server that does not run is no error.
func (r *Redis) Stop(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.child == nil {
		return nil
	}
	err := r.child.stop(ctx, syscall.SIGTERM)
	r.child = nil
	return err
}

// Kill ends the server as kill -9 does.
func (r *Redis) Kill() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.child == nil {
		return nil
	}
	err := r.child.kill()
	r.child = nil
	return err
}

func networkOf(addr string) string {
	if strings.HasPrefix(addr, "/") {
		return "unix"
	}
	return "tcp"
}

// ping succeeds when a Redis answers at addr, its data loaded.
func ping(ctx context.Context, addr string) error {
	// A plain dial first: a client's pool waits long after a refused one.
	conn, err := (&net.Dialer{}).DialContext(ctx, networkOf(addr), addr)
	if err != nil {
		return err
	}
	_ = conn.Close() // nothing was sent
	client := newClient(addr)
	defer func() { _ = client.Close() }()
	return client.Ping(ctx).Err()
}

func newClient(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Network: networkOf(addr), Addr: addr, PoolSize: 1, MaxRetries: -1, ContextTimeoutEnabled: true,
		DialTimeout: time.Second, DialerRetries: 1,
	})
}

// note is the file that names the last server started on this data: its
// process id and address.
func (r *Redis) note() string { return filepath.Join(r.dir, "redis.run") }

// endOrphan stops the server that a killed owner may have left on this data,
// and waits until it has let go of it.
func (r *Redis) endOrphan(ctx context.Context) error {
	raw, err := os.ReadFile(r.note())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for a running redis: %w", err)
	}
	first, addr, _ := strings.Cut(strings.TrimSpace(string(raw)), " ")
	pid, err := strconv.Atoi(first)
	if err != nil || !r.ours(pid, addr) {
		return nil
	}
	client := newClient(addr)
	defer func() { _ = client.Close() }()
	// In a copy of a data folder the note is of the first one's server.
	if conf, err := client.ConfigGet(ctx, "dir").Result(); err == nil && !sameFile(conf["dir"], r.dir) {
		return nil
	}
	r.log.Info("stopping the redis that an earlier run left", "pid", pid)
	if err := client.Shutdown(ctx).Err(); err != nil {
		// Not answering, it may be on its way out already.
		r.log.Debug("shutdown of the earlier redis", "error", err)
	}
	if err := await(ctx, func() bool { return !r.ours(pid, addr) }); err != nil {
		return fmt.Errorf("redis of an earlier run (process %d) does not end: %w", pid, err)
	}
	return nil
}

// ours tells whether the process is a Redis at that address, as its title
// says ("redis-server 127.0.0.1:6379", "redis-server unixsocket:/path"), and
// not another to which the system gave the same id.
func (r *Redis) ours(pid int, addr string) bool {
	title := commandLine(pid)
	return alive(pid) && strings.Contains(title, filepath.Base(r.bin)) && strings.Contains(title, addr)
}

// onFreePort calls start with loopback addresses until one is not taken by
// somebody else between the choice and the server's bind.
func onFreePort(start func(addr string) error) error {
	const tries = 5
	var err error
	for range tries {
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return fmt.Errorf("choose a port: %w", err)
		}
		addr := l.Addr().String()
		if err = l.Close(); err != nil {
			return fmt.Errorf("choose a port: %w", err)
		}
		if err = start(addr); err == nil || !strings.Contains(err.Error(), "Address already in use") {
			return err
		}
	}
	return err
}
