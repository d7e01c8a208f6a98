package devservers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	database = "holdfast" // and the name of the role that owns it
	pgPort   = "5432"     // of a socket, which lies in a folder of its own
)

// Postgres is a private PostgreSQL server. Start, Stop and Kill may follow
// each other in any order; the data and the address stay. Safe for concurrent
// use.
type Postgres struct {
	bin        string // folder of the programs
	dir        string // holds data, log and, where the path is short, the socket
	sockets    string // folder; "" for TCP
	settings   []string
	noSync     bool
	as         *syscall.Credential // nil: this process's user
	timeout    time.Duration
	log        *slog.Logger
	unexpected func(error)

	mu    sync.Mutex
	addr  string // host:port, chosen by the first start; "" for a socket
	child *child // nil unless started
}

// URL is the address of the database holdfast, as pgx takes it:
// postgres://holdfast@127.0.0.1:port/holdfast or, over a socket,
// postgres://holdfast@/holdfast?host=/path&port=5432.
func (p *Postgres) URL() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.url(database)
}

func (p *Postgres) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("holdfast"), Host: p.addr, Path: "/" + database}
	q := url.Values{"sslmode": {"disable"}}
	if p.sockets != "" {
		q.Set("host", p.sockets)
		q.Set("port", pgPort)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// Dir is the folder of the server's files. It is not below the data folder
// where the user that Postgres runs as cannot enter that.
func (p *Postgres) Dir() string { return p.dir }

// PID is the process id; 0 when the server does not run.
func (p *Postgres) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child == nil || p.child.ended() {
		return 0
	}
	return p.child.pid()
}

// Start starts the server, making its files and the database the first time,
// and waits until it answers. A server that runs already is left as it is.
func (p *Postgres) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child != nil && !p.child.ended() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	if err := p.init(ctx); err != nil {
		return err
	}
	if err := p.endOrphan(ctx); err != nil {
		return err
	}
	var err error
	if p.sockets != "" || p.addr != "" {
		err = p.start(ctx)
	} else {
		err = onFreePort(func(addr string) error {
			p.addr = addr
			err := p.start(ctx)
			if err != nil {
				p.addr = ""
			}
			return err
		})
	}
	if err != nil {
		return err
	}
	if err := p.createDatabase(ctx); err != nil {
		err = errors.Join(err, p.child.kill())
		p.child = nil
		return err
	}
	return nil
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// init makes the files of the server once. They are made under another name,
// so that a start cut short leaves nothing half made behind.
func (p *Postgres) init(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(p.data(), "PG_VERSION")); err == nil {
		return nil
	}
	fresh := p.data() + ".new"
	args := []string{"--pgdata", fresh, "--username", "holdfast", "--auth", "trust",
		"--encoding", "UTF8", "--no-instructions"}
	if p.noSync {
		args = append(args, "--no-sync")
	}
	var err error
	// C.UTF-8 knows the case of all letters, but not every system has it.
	for _, locale := range []string{"--locale=C.UTF-8", "--no-locale"} {
		if err = os.RemoveAll(fresh); err != nil {
			return fmt.Errorf("initdb: %w", err)
		}
		var c *child
		c, err = startChild("initdb", p.command("initdb", append(args, locale)...), syscall.SIGKILL,
			filepath.Join(p.dir, "initdb.log"))
		if err != nil {
			return err
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return fmt.Errorf("initdb: %w", errors.Join(ctx.Err(), c.kill()))
		}
		if state := c.cmd.ProcessState; state != nil && state.Success() {
			err = nil
			break
		}
		err = fmt.Errorf("initdb failed:%s", c.tail())
	}
	if err != nil {
		return err
	}
	if err := os.Rename(fresh, p.data()); err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	return nil
}

func (p *Postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	return cmd
}

// start starts the server; again while processes of a killed one still hold
// its shared memory.
func (p *Postgres) start(ctx context.Context) error {
	for {
		err := p.startOnce(ctx)
		if err == nil || ctx.Err() != nil || !errors.Is(err, errDied) ||
			!strings.Contains(err.Error(), "is still in use") && !strings.Contains(err.Error(), "lock file \"") {
			return err
		}
		p.log.Debug("an earlier postgres has not let go yet", "error", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (p *Postgres) startOnce(ctx context.Context) error {
	args := []string{"-D", p.data(), "-c", "shared_buffers=128MB", "-c", "max_connections=100"}
	if p.sockets != "" {
		args = append(args, "-c", "listen_addresses=", "-c", "port="+pgPort,
			"-c", "unix_socket_directories="+p.sockets, "-c", "unix_socket_permissions=0700")
	} else {
		host, port, err := net.SplitHostPort(p.addr)
		if err != nil {
			return fmt.Errorf("postgres address: %w", err)
		}
		args = append(args, "-c", "listen_addresses="+host, "-c", "port="+port, "-c", "unix_socket_directories=")
	}
	for _, s := range p.settings {
		args = append(args, "-c", s)
	}
	c, err := startChild("postgres", p.command("postgres", args...), syscall.SIGQUIT,
		filepath.Join(p.dir, "postgres.log"))
	if err != nil {
		return err
	}
	err = c.ready(ctx, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, p.url("postgres"))
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
	if err != nil {
		return errors.Join(err, c.kill())
	}
	c.onUnexpected(p.unexpected)
	p.child = c
	return nil
}

func (p *Postgres) createDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.url("postgres"))
	if err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var exists bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database).Scan(&exists)
	if err == nil && !exists {
		_, err = conn.Exec(ctx, "CREATE DATABASE "+database)
	}
	if err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	return nil
}

// Stop ends the sessions and then the server (a "fast" shutdown). When ctx
// ends first it is killed. A server that does not run is no error.
func (p *Postgres) Stop(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child == nil {
		return nil
	}
	err := p.child.stop(ctx, syscall.SIGINT)
	p.child = nil
	return err
}

// Kill ends the server as kill -9 does. The processes of its sessions see
// that and end by themselves.
func (p *Postgres) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child == nil {
		return nil
	}
	err := p.child.kill()
	p.child = nil
	return err
}

// endOrphan stops the server that a killed owner may have left on this data.
func (p *Postgres) endOrphan(ctx context.Context) error {
	file := filepath.Join(p.data(), "postmaster.pid")
	raw, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for a running postgres: %w", err)
	}
	first, rest, _ := strings.Cut(string(raw), "\n")
	pid, _ := strconv.Atoi(strings.TrimSpace(first)) // 0, no process, where it is damaged
	if !alive(pid) {
		return nil // Postgres itself sees that the file is stale
	}
	if !p.ours(pid) {
		// A zombie, or somebody else's process to which the system gave the
		// dead server's id: Postgres would take it for a running server. Its
		// parent's id it takes for stale, and still looks whether sessions of
		// the dead one hold the shared memory that the file names.
		if err := os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())+"\n"+rest), 0o600); err != nil {
			return fmt.Errorf("mark %s as stale: %w", file, err)
		}
		return nil
	}
	p.log.Info("stopping the postgres that an earlier run left", "pid", pid)
	c, err := startChild("pg_ctl", p.command("pg_ctl", "stop", "-D", p.data(), "-m", "fast", "-w"),
		syscall.SIGKILL, filepath.Join(p.dir, "pg_ctl.log"))
	if err != nil {
		return err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return errors.Join(ctx.Err(), c.kill())
	}
	// pg_ctl also fails where the server was on its way out already.
	if err := await(ctx, func() bool { return !p.ours(pid) }); err != nil {
		return fmt.Errorf("postgres of an earlier run (process %d) does not end: %w%s", pid, err, c.tail())
	}
	return nil
}

// ours tells whether the process is a server on this data.
func (p *Postgres) ours(pid int) bool {
	return alive(pid) && strings.Contains(commandLine(pid), p.data())
}
