package devservers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// helperDir has the test binary act as a process that runs servers on that
// folder until it is killed.
const helperDir = "HOLDFAST_TEST_DEVSERVERS_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		s, err := Start(context.Background(), Config{Dir: dir, TCP: os.Getenv("HOLDFAST_TEST_DEVSERVERS_TCP") != ""})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println("started", s.Redis.PID(), s.Postgres.PID())
		select {}
	}
	goleak.VerifyTestMain(m)
}

// folder is a data folder that the user postgres can enter.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hf-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, cfg Config) *Servers {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Servers) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

// write stores value in both servers.
func write(t *testing.T, s *Servers, value string) {
	t.Helper()
	client := dialRedis(t, s)
	if err := client.Set(t.Context(), "k", value, 0).Err(); err != nil {
		t.Fatal(err)
	}
	exec1(t, s, "CREATE TABLE IF NOT EXISTS t (v text)")
	exec1(t, s, "DELETE FROM t")
	exec1(t, s, "INSERT INTO t VALUES ('"+value+"')")
}

// read fails the test unless both servers hold value.
func read(t *testing.T, s *Servers, value string) {
	t.Helper()
	if got, err := dialRedis(t, s).Get(t.Context(), "k").Result(); err != nil || got != value {
		t.Errorf("redis holds %q, %v; want %q", got, err, value)
	}
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var got string
	if err := conn.QueryRow(t.Context(), "SELECT v FROM t").Scan(&got); err != nil || got != value {
		t.Errorf("postgres holds %q, %v; want %q", got, err, value)
	}
}

func dialRedis(t *testing.T, s *Servers) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(s.RedisURL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func exec1(t *testing.T, s *Servers, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func TestStartHasTheSettings(t *testing.T) {
	s := start(t, Config{RedisArgs: []string{"--hz", "50"}, PostgresSettings: []string{"fsync=off"}})
	client := dialRedis(t, s)
	for name, want := range map[string]string{
		"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction",
		"notify-keyspace-events": "xE", "active-expire-effort": "10", "save": "", "hz": "50",
	} {
		if got := client.ConfigGet(t.Context(), name).Val()[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for name, want := range map[string]string{
		"fsync": "off", "server_encoding": "UTF8", "max_connections": "100", "listen_addresses": "",
	} {
		var got string
		if err := conn.QueryRow(t.Context(), "SHOW "+name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestTemporaryDataIsRemoved(t *testing.T) {
	s := start(t, Config{})
	stop(t, s)
	if _, err := os.Stat(s.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", s.Dir(), err)
	}
}

func TestDataSurvivesRestart(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		t.Run(fmt.Sprintf("tcp=%v", tcp), func(t *testing.T) {
			dir := filepath.Join(folder(t), "data")
			s := start(t, Config{Dir: dir, TCP: tcp})
			write(t, s, "first")
			stop(t, s)
			s = start(t, Config{Dir: dir, TCP: tcp})
			read(t, s, "first")
		})
	}
}

func TestLongPath(t *testing.T) {
	dir := filepath.Join(folder(t), strings.Repeat("long/", 30))
	s := start(t, Config{Dir: dir})
	write(t, s, "x")
	read(t, s, "x")
}

func TestOneServerRestartsOnItsAddress(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		t.Run(fmt.Sprintf("tcp=%v", tcp), func(t *testing.T) {
			s := start(t, Config{TCP: tcp})
			write(t, s, "kept")
			redisURL, databaseURL := s.RedisURL(), s.DatabaseURL()
			for _, end := range []func() error{
				s.Redis.Kill, s.Postgres.Kill,
				func() error { return s.Redis.Stop(t.Context()) },
				func() error { return s.Postgres.Stop(t.Context()) },
			} {
				if err := end(); err != nil {
					t.Fatal(err)
				}
				if s.Redis.PID() != 0 && s.Postgres.PID() != 0 {
					t.Error("neither server has ended")
				}
				if err := errors.Join(s.Redis.Start(t.Context()), s.Postgres.Start(t.Context())); err != nil {
					t.Fatal(err)
				}
				read(t, s, "kept")
			}
			if s.RedisURL() != redisURL || s.DatabaseURL() != databaseURL {
				t.Errorf("addresses changed: %s %s", s.RedisURL(), s.DatabaseURL())
			}
			select {
			case err := <-s.Died():
				t.Errorf("a wanted end was reported: %v", err)
			default:
			}
		})
	}
}

func TestDied(t *testing.T) {
	s := start(t, Config{})
	for _, pid := range []int{s.Redis.PID(), s.Postgres.PID()} {
		p, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-s.Died():
			if !strings.Contains(err.Error(), "ended on its own: signal: killed") {
				t.Errorf("got %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the end of a server was not reported")
		}
	}
}

func TestSecondUseIsRefused(t *testing.T) {
	dir := filepath.Join(folder(t), "data")
	s := start(t, Config{Dir: dir, RedisOnly: true})
	_, err := Start(t.Context(), Config{Dir: dir, RedisOnly: true})
	if !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v, want ErrInUse", err)
	}
	for _, want := range []string{s.Dir(), fmt.Sprint("process ", os.Getpid())} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
	if err := dialRedis(t, s).Ping(t.Context()).Err(); err != nil {
		t.Errorf("the first use was disturbed: %v", err)
	}
}

func TestMissing(t *testing.T) {
	_, err := Start(t.Context(), Config{Path: []string{t.TempDir()}})
	if !errors.Is(err, ErrMissing) {
		t.Fatalf("got %v, want ErrMissing", err)
	}
	for _, want := range []string{"redis-server", "PostgreSQL", "apt-get", "dnf", "brew"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than a line", err)
	}
}

func TestAFailedStartShowsTheLog(t *testing.T) {
	for name, cfg := range map[string]Config{
		"redis":    {RedisArgs: []string{"--hz", "nonsense"}},
		"postgres": {PostgresSettings: []string{"max_connections=nonsense"}},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			_, err := Start(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), "nonsense") {
				t.Errorf("got %v, want the server's own words", err)
			}
			if took := time.Since(begin); took > 15*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// helper runs another process of this binary on dir, and returns it with the
// beginning of what it prints.
func helper(t *testing.T, dir, tcp string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperDir+"="+dir, "HOLDFAST_TEST_DEVSERVERS_TCP="+tcp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewReader(out)
}

func killOwner(t *testing.T, owner *exec.Cmd) {
	t.Helper()
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait() // says only that it was killed
}

func TestOwnerKilledWhileStartingBlocksNothing(t *testing.T) {
	for _, reached := range []string{"postgres/data.new/base", "postgres/data/postmaster.pid"} {
		dir := filepath.Join(folder(t), "data")
		owner, _ := helper(t, dir, "")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		err := await(ctx, func() bool {
			_, err := os.Stat(filepath.Join(dir, reached))
			return err == nil
		})
		cancel()
		if err != nil {
			t.Fatalf("the helper never made %s", reached)
		}
		killOwner(t, owner)
		s := start(t, Config{Dir: dir})
		write(t, s, "x")
		read(t, s, "x")
	}
}

func TestKilledOwnerBlocksNothing(t *testing.T) {
	for _, tcp := range []string{"", "1"} {
		t.Run("tcp="+tcp, func(t *testing.T) {
			dir := filepath.Join(folder(t), "data")
			for round := range 3 {
				owner, out := helper(t, dir, tcp)
				line, err := out.ReadString('\n')
				pids := make([]int, 2)
				if _, scan := fmt.Sscanf(line, "started %d %d", &pids[0], &pids[1]); scan != nil {
					t.Fatalf("helper said %q (%v, %v)", line, err, scan)
				}
				killOwner(t, owner)
				s := start(t, Config{Dir: dir, TCP: tcp != ""})
				if round > 0 {
					read(t, s, "kept")
				}
				write(t, s, "kept")
				for _, pid := range pids {
					// A dead one may stay a zombie where no init reaps it.
					if alive(pid) && commandLine(pid) != "" {
						t.Errorf("orphan %d runs on", pid)
					}
				}
				stop(t, s)
			}
		})
	}
}

// An orphan that the kernel did not stop, as on systems without parent-death
// signals, is stopped by the next start.
func TestOrphansAreStopped(t *testing.T) {
	dir := filepath.Join(folder(t), "data")
	first := start(t, Config{Dir: dir})
	write(t, first, "kept")
	orphans := []int{first.Redis.PID(), first.Postgres.PID()}
	for _, lock := range first.locks { // what its end does to an owner's locks
		if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
	}
	first.locks = nil
	second := start(t, Config{Dir: dir})
	read(t, second, "kept")
	for _, pid := range orphans {
		if alive(pid) {
			t.Errorf("orphan %d runs on", pid)
		}
	}
}

func TestStalePidFiles(t *testing.T) {
	dir := filepath.Join(folder(t), "data")
	s := start(t, Config{Dir: dir})
	write(t, s, "kept")
	if err := errors.Join(s.Postgres.Kill(), s.Redis.Kill()); err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	// The id of a process that lives and is none of ours.
	foreign := exec.Command("/bin/sleep", "60")
	// Of the same user, or Postgres may not ask the kernel about it.
	foreign.SysProcAttr = &syscall.SysProcAttr{Credential: s.Postgres.as}
	if err := foreign.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = foreign.Process.Kill(); _ = foreign.Wait() }()
	pid := strconv.Itoa(foreign.Process.Pid)
	pidFile := filepath.Join(s.Postgres.data(), "postmaster.pid")
	raw, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "\n")
	if err := os.WriteFile(pidFile, []byte(pid+"\n"+rest), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Redis.note(), []byte(pid+" "+s.Redis.socket+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	read(t, start(t, Config{Dir: dir}), "kept")
	if !alive(foreign.Process.Pid) {
		t.Error("somebody else's process was ended")
	}
}

func TestURLsParse(t *testing.T) {
	s := start(t, Config{TCP: true})
	for _, raw := range []string{s.RedisURL(), s.DatabaseURL()} {
		if u, err := url.Parse(raw); err != nil || u.Hostname() != "127.0.0.1" {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestVersionIn(t *testing.T) {
	for dir, want := range map[string]int{
		"/usr/lib/postgresql/15/bin":                       15,
		"/usr/pgsql-9/bin":                                 9,
		"/opt/homebrew/opt/postgresql@17/bin":              17,
		"/usr/bin":                                         0,
		"/home/linuxbrew/.linuxbrew/opt/x/bin":             0,
		"/usr/local/opt/postgresql@99999999999999999999/b": 0,
	} {
		if got := versionIn(dir); got != want {
			t.Errorf("%s: %d, want %d", dir, got, want)
		}
	}
}
