package bench

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/bench/report"
	"github.com/holdfast/holdfast/test/harness"
)

// stage is one phase while it runs: its contenders are fresh, with a Redis and
// databases of their own, and end with it.
type stage struct {
	*testing.B
	*suite
	databases int
}

func newStage(b *testing.B, s *suite) *stage {
	b.Helper()
	return &stage{B: b, suite: s}
}

// turn is one contender's part of a round.
type turn struct {
	name string
	run  func() float64 // the figure
}

// compare has the contenders take turns, round after round, so that what
// changes on the machine meanwhile meets all alike.
func (s *stage) compare(name, title, unit string, turns []turn) *report.Phase {
	s.Helper()
	p := s.report.Phase(name, title, unit)
	for round := range s.plan.rounds {
		for _, t := range turns {
			runtime.GC() // of the driver, so that it does not fall into the turn
			figure := t.run()
			if s.Failed() {
				s.Fatalf("%s, round %d: stopped", t.name, round+1)
			}
			p.Add(t.name, figure)
			fmt.Printf("  %-10s round %d  %-42s %10.5g %s\n", name, round+1, t.name, figure, unit)
		}
	}
	return p
}

// contender is a server that is measured.
type contender struct {
	name     string
	process  *harness.Process // has its URL
	constant bool             // sells nothing, so there is nothing to check

	// settle waits until what a turn left to do is done. Defaults to nothing.
	settle func()
	// audit checks all that was ever sold. Defaults to nothing.
	audit func()
}

// The names of the contenders, as the report has them.
const (
	ceiling      = "HTTP alone (constant answers)"
	holdfast     = "Holdfast"
	grouped      = "Postgres, waiting requests grouped"
	groupedHalf  = "Postgres, waiting reserves alone grouped"
	statement    = "Postgres, one statement a request"
	rowlock      = "Postgres, SELECT … FOR UPDATE"
	redisOnly    = "Redis without HTTP: least script, no fsync"
	redisFsync   = "Redis without HTTP: least script, fsync"
	engineBatch  = "Holdfast without HTTP"
	engineSingle = "Holdfast without HTTP, one reserve a call"
)

// baseline starts one, with flags of its own.
func (s *stage) baseline(name, kind string, flags ...string) *contender {
	s.Helper()
	addr := net.JoinHostPort("127.0.0.1", harness.FreePort(s))
	args := append([]string{"--kind", kind, "--addr", addr, "--people", strconv.Itoa(inhabitants)}, flags...)
	c := &contender{name: name, constant: kind == "constant"}
	if !c.constant {
		args = append(args, "--database", s.database())
	}
	c.process = harness.NewProcess(s, s.baselines, nil, args...)
	c.process.URL = "http://" + addr
	c.process.Start()
	c.process.Ready()
	return c
}

// postgresBaselines starts those that are measured everywhere.
func (s *stage) postgresBaselines() []*contender {
	s.Helper()
	return []*contender{
		s.baseline(grouped, "grouped"),
		s.baseline(statement, "statement"),
		s.baseline(rowlock, "rowlock"),
	}
}

// database makes an empty one, which is dropped with the stage.
func (s *stage) database() (address string) {
	s.Helper()
	s.databases++
	name := fmt.Sprintf("%s_%d", s.phaseName(), s.databases)
	s.sql(s.postgres.DatabaseURL, "CREATE DATABASE "+name)
	s.Cleanup(func() { s.sql(s.postgres.DatabaseURL, "DROP DATABASE "+name+" WITH (FORCE)") })
	u := must(url.Parse(s.postgres.DatabaseURL))
	u.Path = "/" + name
	return u.String()
}

func (s *stage) phaseName() string { return s.Name()[strings.LastIndexByte(s.Name(), '/')+1:] }

func (s *stage) sql(address, statement string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		s.Fatal(err)
	}
	_, err = conn.Exec(ctx, statement)
	check(s.B, err)
	check(s.B, conn.Close(ctx))
}

// deployment is a Holdfast: a Redis and a database, and the instances on them.
type deployment struct {
	*stage
	redisURL    string
	databaseURL string
	redis       redis.UniversalClient
}

// prefix and partitions are those that holdfast serve has by default.
const (
	prefix     = "hf"
	partitions = 16
)

// deploy makes a deployment with people in it, on a Redis of its own with
// Holdfast's settings.
func (s *stage) deploy() *deployment {
	s.Helper()
	own := harness.Own(s, harness.OwnOptions{RedisOnly: true})
	d := s.deployOn(own.RedisURL, own.Redis())
	for name, want := range map[string]string{"appendonly": "yes", "appendfsync": "always"} {
		if got := must(d.redis.ConfigGet(s.Context(), name).Result())[name]; got != want {
			s.Fatalf("Redis has %s %s, want %s", name, got, want)
		}
	}
	return d
}

// deployOnCluster makes one on a Redis Cluster of so many masters.
func (s *stage) deployOnCluster(masters int) *deployment {
	s.Helper()
	c := harness.OwnCluster(s, harness.ClusterOptions{Masters: masters, NoReplicas: true})
	return s.deployOn(c.RedisURL, c.Redis())
}

func (s *stage) deployOn(redisURL string, client redis.UniversalClient) *deployment {
	s.Helper()
	d := &deployment{stage: s, redisURL: redisURL, databaseURL: s.database(), redis: client}
	check(s.B, persist.Migrate(s.Context(), d.databaseURL))
	store := must(persist.Open(persist.Config{URL: d.databaseURL}))
	defer store.Close()
	users := must(persist.NewUsers(persist.UsersConfig{Store: store}))
	must(users.Seed(s.Context(), inhabitants, nil))
	return d
}

func (d *deployment) env() []string {
	return []string{"HOLDFAST_REDIS_URL=" + d.redisURL, "HOLDFAST_DATABASE_URL=" + d.databaseURL, "HOLDFAST_LOG_LEVEL=warn"}
}

// serve starts an instance, which has all roles where the flags do not say
// otherwise.
func (d *deployment) serve(flags ...string) *contender {
	d.Helper()
	port := harness.FreePort(d)
	p := harness.NewProcess(d, d.holdfast, d.env(), append([]string{"serve", "--host", "127.0.0.1", "--port", port}, flags...)...)
	p.URL = "http://127.0.0.1:" + port
	p.Start()
	p.Ready()
	return &contender{name: holdfast, process: p, settle: d.drained, audit: d.audit}
}

// drained waits until Postgres has all that was sold.
func (d *deployment) drained() {
	d.Helper()
	harness.Eventually(d, 5*time.Minute, func() error {
		if left := d.waiting(); left > 0 {
			return fmt.Errorf("%d ledger entries wait for Postgres", left)
		}
		return nil
	})
}

// waiting is how many ledger entries wait for Postgres.
func (d *deployment) waiting() (left int64) {
	d.Helper()
	cmds := must(d.redis.Pipelined(d.Context(), func(p redis.Pipeliner) error {
		for i := range partitions {
			p.XLen(d.Context(), engine.KeyPrefix(prefix, partitions, i)+"ledger")
		}
		return nil
	}))
	for _, cmd := range cmds {
		left += cmd.(*redis.IntCmd).Val()
	}
	return left
}

// audit has holdfast itself compare Redis with Postgres, every drop.
func (d *deployment) audit() {
	d.Helper()
	d.drained()
	if printed, status := harness.Run(d, d.holdfast, d.env(), "audit"); status != 0 {
		d.Errorf("holdfast audit: status %d\n%s", status, printed)
	}
}

// machine is what the run is on.
func (s *suite) machine(b *testing.B) report.Machine {
	b.Helper()
	m := report.Machine{CPUs: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()}
	info, _ := os.ReadFile("/proc/cpuinfo") // where there is none, it stays empty, as the load does
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	_, _ = fmt.Sscan(string(load), &m.Load)
	conn := must(pgx.Connect(b.Context(), s.postgres.DatabaseURL))
	for _, name := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		var value string
		check(b, conn.QueryRow(b.Context(), "SHOW "+name).Scan(&value))
		if value != "on" {
			b.Fatalf("Postgres has %s %s, want on", name, value)
		}
	}
	var version string
	check(b, conn.QueryRow(b.Context(), "SHOW server_version").Scan(&version))
	check(b, conn.Close(b.Context()))
	version, _, _ = strings.Cut(version, " ") // a distribution adds its own
	m.Postgres = "Postgres " + version
	own := harness.Own(b, harness.OwnOptions{RedisOnly: true})
	for line := range strings.Lines(must(own.Redis().Info(b.Context(), "server").Result())) {
		if v, ok := strings.CutPrefix(line, "redis_version:"); ok {
			m.Redis = "Redis " + strings.TrimSpace(v)
		}
	}
	own.StopRedis()
	return m
}
