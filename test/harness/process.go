package harness

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is one holdfast command, run as its users run it. It dies with the
// tests, however these end.
type Process struct {
	// URL is the address of the API; "" until whoever made the process sets it.
	URL string

	tb   testing.TB
	cmd  *exec.Cmd
	out  Output // standard output and error, of all its runs
	done chan struct{}
}

// Build builds the holdfast command of this module into the folder dir, with
// the race detector or without, and gives its path. It is called with the
// working folder that go test gives a package.
func Build(dir string, race bool) (binary string, err error) {
	binary = dir + "/holdfast"
	args := []string{"build", "-o", binary}
	if race {
		args = append(args, "-race")
	}
	args = append(args, "github.com/holdfast/holdfast/cmd/holdfast")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build holdfast: %w\n%s", err, out)
	}
	return binary, nil
}

// NewProcess is a process that is not started yet: env holds NAME=value pairs,
// and nothing of holdfast's own reaches it from the environment of the tests.
// Identity is open and the admin token AdminToken where env does not say otherwise.
func NewProcess(tb testing.TB, binary string, env []string, args ...string) *Process {
	tb.Helper()
	p := &Process{tb: tb, cmd: exec.Command(binary, args...), done: make(chan struct{})}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "HOLDFAST_") && !strings.HasPrefix(v, "PORT=") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, identityEnv()...)
	// The tests come from one address, each as many. Those about fair use set it.
	p.cmd.Env = append(append(p.cmd.Env, "HOLDFAST_FAIR_USE=off"), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	dieWithParent(p.cmd)
	return p
}

// Start starts the process, which is killed at the test's end at the latest.
// The test fails where it printed a data race, and shows its log where it fails.
func (p *Process) Start() {
	p.tb.Helper()
	p.launch()
	p.tb.Cleanup(func() {
		p.Kill()
		if p.out.raced() {
			p.tb.Error("data race in holdfast")
		}
		if p.tb.Failed() {
			log := p.Log()
			p.tb.Logf("holdfast %s:\n%s", strings.Join(p.cmd.Args[1:], " "), log[max(0, len(log)-8000):])
		}
	})
}

func (p *Process) launch() {
	p.tb.Helper()
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
		p.tb.Fatal(err)
	}
}

// Again starts a process that has ended once more, on the same address.
func (p *Process) Again() {
	p.tb.Helper()
	old := p.cmd
	p.cmd = exec.Command(old.Path, old.Args[1:]...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = old.Env, old.Stdout, old.Stderr, old.SysProcAttr
	p.done = make(chan struct{})
	p.launch()
}

// Ready waits until the process answers at its address.
func (p *Process) Ready() {
	p.tb.Helper()
	Eventually(p.tb, 40*time.Second, func() error {
		if p.Ended() {
			p.tb.Fatalf("holdfast ended with %d:\n%s", p.ExitCode(), p.Log())
		}
		return p.Probe()
	})
}

// Probe asks once whether the process answers that it is ready.
func (p *Process) Probe() error {
	client := http.Client{Timeout: 5 * time.Second}
	res, err := client.Get(p.URL + "/readyz")
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}

// Ended tells whether the process, once started, has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// PID is the id of the started process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal; none to a process that has ended.
func (p *Process) Signal(s syscall.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.tb.Error(err)
	}
}

// Kill ends the process as kill -9 does.
func (p *Process) Kill() {
	p.tb.Helper()
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Terminate asks for an orderly end by SIGTERM and gives the exit status.
func (p *Process) Terminate() int {
	p.tb.Helper()
	p.Signal(syscall.SIGTERM)
	return p.Wait(10 * time.Second)
}

// Wait waits for the end and gives the exit status.
func (p *Process) Wait(within time.Duration) int {
	p.tb.Helper()
	select {
	case <-p.done:
		return p.ExitCode()
	case <-time.After(within):
		p.Signal(syscall.SIGQUIT) // the log shows where it hangs
		p.tb.Fatalf("holdfast did not end within %v", within)
		return -1
	}
}

// ExitCode is the exit status of a process that has ended; -1 by a signal.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Log is the end of what the process has printed.
func (p *Process) Log() string { return p.out.String() }

// Run runs a command that ends by itself, and gives what it printed and its
// exit status.
func Run(tb testing.TB, binary string, env []string, args ...string) (printed string, status int) {
	tb.Helper()
	p := NewProcess(tb, binary, env, args...)
	p.Start()
	status = p.Wait(60 * time.Second)
	return p.Log(), status
}

// Output is what a process prints, readable while it does. Of a process that
// prints very much it keeps the end. The zero value is ready for use.
type Output struct {
	mu   sync.Mutex
	text []byte
	race bool
}

const maxOutput = 4 << 20 // bytes

// Write adds to what was printed.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	if len(o.text) > maxOutput {
		o.race = o.race || hasRace(o.text)
		o.text = append(o.text[:0], o.text[len(o.text)-maxOutput/2:]...)
	}
	return len(b), nil
}

// String is the end of what was printed.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

func (o *Output) raced() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.race || hasRace(o.text)
}

func hasRace(text []byte) bool { return strings.Contains(string(text), "WARNING: DATA RACE") }

// Alive tells whether there is a process of this id that is no zombie.
func Alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}
