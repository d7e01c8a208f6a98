package integration

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// process is one running holdfast.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	url  string // of its API
	out  output // standard output and error
	done chan struct{}
}

// command is a process that is not started yet: env holds NAME=value pairs,
// and nothing of holdfast's own reaches it from the environment of the tests.
func command(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), done: make(chan struct{})}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "HOLDFAST_") && !strings.HasPrefix(v, "PORT=") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	dieWithParent(p.cmd)
	return p
}

// start starts the process, which is killed at the test's end at the latest.
func (p *process) start() {
	p.t.Helper()
	started := make(chan error, 1)
	go func() {
		// The parent-death signal comes when the starting thread ends, so the
		// thread is kept.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // the ProcessState says how it ended
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		p.kill()
		log := p.out.String()
		if strings.Contains(log, "WARNING: DATA RACE") {
			p.t.Error("data race in holdfast")
		}
		if p.t.Failed() {
			p.t.Logf("holdfast %s:\n%s", strings.Join(p.cmd.Args[1:], " "), log[max(0, len(log)-8000):])
		}
	})
}

// again starts a process that has ended once more, on the same address.
func (p *process) again() {
	p.t.Helper()
	old := p.cmd
	p.cmd = exec.Command(old.Path, old.Args[1:]...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = old.Env, old.Stdout, old.Stderr, old.SysProcAttr
	p.done = make(chan struct{})
	p.start()
}

// ready waits until the process answers at its address.
func (p *process) ready() {
	p.t.Helper()
	harness.Eventually(p.t, 40*time.Second, func() error {
		if p.ended() {
			p.t.Fatalf("holdfast ended with %d:\n%s", p.exitCode(), p.out.String())
		}
		res, err := http.Get(p.url + "/readyz")
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return errors.New(res.Status)
		}
		return nil
	})
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Error(err)
	}
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	<-p.done
}

// terminate asks for an orderly end by SIGTERM and gives the exit status.
func (p *process) terminate() int {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	return p.wait(10 * time.Second)
}

// wait waits for the end and gives the exit status.
func (p *process) wait(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.exitCode()
	case <-time.After(within):
		p.signal(syscall.SIGQUIT) // the log shows where it hangs
		p.t.Fatalf("holdfast did not end within %v", within)
		return -1
	}
}

func (p *process) exitCode() int { return p.cmd.ProcessState.ExitCode() }

// run runs a command that ends by itself, and gives what it printed and its
// exit status.
func run(t testing.TB, env []string, args ...string) (printed string, status int) {
	t.Helper()
	p := command(t, env, args...)
	p.start()
	status = p.wait(60 * time.Second)
	return p.out.String(), status
}

// output is what a process prints, readable while it does.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// freePort gives a port of the loopback below those that systems hand out for
// outgoing connections, so that none of these takes it meanwhile.
func freePort(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(15_000 + rand.IntN(15_000))
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

// alive tells whether there is a process of this id that is no zombie.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}
