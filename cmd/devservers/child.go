package devservers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxLog is the size in bytes at which a server's log is put aside (one old
// one is kept) when the server starts.
const maxLog = 8 << 20

// child is one running server process with its log.
type child struct {
	name string
	cmd  *exec.Cmd
	log  string        // path
	from int64         // where this run's log begins
	done chan struct{} // closed when the process has ended

	mu         sync.Mutex
	err        error // how it ended
	stopping   bool
	unexpected func(error)
}

// startChild starts cmd in a process group of its own, with its output in the
// file log. death is the signal it gets when this process is killed.
func startChild(name string, cmd *exec.Cmd, death syscall.Signal, log string) (*child, error) {
	if info, err := os.Stat(log); err == nil && info.Size() > maxLog {
		if err := os.Rename(log, log+".old"); err != nil {
			return nil, fmt.Errorf("rotate log: %w", err)
		}
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = out.Close() }() // the child has its own descriptor
	info, err := out.Stat()
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	ownGroup(cmd, death)

	c := &child{name: name, cmd: cmd, log: log, from: info.Size(), done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel sends the parent-death signal when the thread that
		// started the child ends, so the thread is kept for the child's life.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.err = err
		close(c.done)
		c.reportIfUnexpected()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

// onUnexpected has report called when the process ends, or has ended, though
// nobody stopped it.
func (c *child) onUnexpected(report func(error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unexpected = report
	if c.ended() {
		c.reportIfUnexpected()
	}
}

func (c *child) reportIfUnexpected() {
	if c.stopping || c.unexpected == nil {
		return
	}
	how := c.err
	if how == nil {
		how = errors.New("exit status 0")
	}
	c.unexpected(fmt.Errorf("%s ended on its own: %w; its log %s ends:%s", c.name, how, c.log, c.tail()))
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// stop asks the process to end with sig and waits for it; when ctx ends first
// the process is killed and ctx's error returned.
func (c *child) stop(ctx context.Context, sig syscall.Signal) error {
	c.mu.Lock()
	c.stopping = true
	c.mu.Unlock()
	if err := c.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", c.name, err)
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		_ = c.cmd.Process.Kill() // fails only when it has ended meanwhile
		<-c.done
		return fmt.Errorf("stop %s: killed: %w", c.name, ctx.Err())
	}
}

// kill ends the process with SIGKILL and waits for it.
func (c *child) kill() error { return c.stop(context.Background(), syscall.SIGKILL) }

// tail is the end of what this run logged, on lines of its own.
func (c *child) tail() string {
	const most, lines = 4096, 8
	f, err := os.Open(c.log)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	buf := make([]byte, most)
	n, _ := f.ReadAt(buf, max(c.from, info.Size()-most)) // short reads are usual here
	all := strings.Split(strings.TrimSpace(string(buf[:n])), "\n")
	if len(all) == 0 || all[0] == "" {
		return ""
	}
	return "\n  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// errDied is wrapped when a server ends before it was ready.
var errDied = errors.New("died while starting")

// ready polls probe until it succeeds; an error when the process ends or ctx
// does.
func (c *child) ready(ctx context.Context, probe func(context.Context) error) error {
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		err := probe(try)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-c.done:
			return fmt.Errorf("%s %w, its log %s ends:%s", c.name, errDied, c.log, c.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready (%w): %w; its log %s ends:%s", c.name, ctx.Err(), err, c.log, c.tail())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// await polls until cond holds, or ctx ends.
func await(ctx context.Context, cond func() bool) error {
	for !cond() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// alive tells whether a process with this id exists.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return pid > 0 && (err == nil || errors.Is(err, syscall.EPERM))
}
