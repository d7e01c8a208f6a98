package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/bench/report"
	"github.com/holdfast/holdfast/test/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m, harness.Options{Migrate: persist.Migrate})
}

// plan is what a run does, as the environment says.
type plan struct {
	phases []string      // HOLDFAST_BENCH_PHASES: reserve,soldout … Defaults to all.
	rounds int           // HOLDFAST_BENCH_ROUNDS. Defaults to 3.
	turn   time.Duration // HOLDFAST_BENCH_SECONDS: a contender's turn in a round. Defaults to 3 s.
	out    string        // HOLDFAST_BENCH_OUT: folder of bench.json and bench.svg. Defaults to a temporary one.
}

func readPlan(b *testing.B) plan {
	b.Helper()
	p := plan{rounds: 3, turn: 3 * time.Second, out: os.Getenv("HOLDFAST_BENCH_OUT")}
	for name := range strings.SplitSeq(os.Getenv("HOLDFAST_BENCH_PHASES"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			p.phases = append(p.phases, name)
		}
	}
	if text := os.Getenv("HOLDFAST_BENCH_ROUNDS"); text != "" {
		p.rounds = must(strconv.Atoi(text))
	}
	if text := os.Getenv("HOLDFAST_BENCH_SECONDS"); text != "" {
		p.turn = time.Duration(must(strconv.ParseFloat(text, 64)) * float64(time.Second))
	}
	if p.rounds < 1 || p.turn < 100*time.Millisecond {
		b.Fatalf("%d rounds of %v: want at least 1 of 0.1 s", p.rounds, p.turn)
	}
	if p.out == "" {
		p.out = b.TempDir()
	}
	return p
}

// phase is one thing that is measured.
type phase struct {
	name string
	run  func(*stage)
}

// phases are all, in order.
var phases = []phase{
	{"reserve", reservePhase},
	{"reserve64", reserve64Phase},
	{"soldout", soldOutPhase},
	{"checkout", checkoutPhase},
	{"browse", browsePhase},
	{"latency", latencyPhase},
	{"writer", writerPhase},
	{"restore", restorePhase},
	{"idle", idlePhase},
	{"flat", flatPhase},
	{"cluster", clusterPhase},
}

// BenchmarkSale measures Holdfast beside what people would pick instead, and
// prints each goal as met or missed. It fails where anything was sold wrong, in
// whatever phase; not for a goal. See the package's documentation.
func BenchmarkSale(b *testing.B) {
	s := &suite{plan: readPlan(b)}
	for _, name := range s.plan.phases {
		if !slices.ContainsFunc(phases, func(p phase) bool { return p.name == name }) {
			b.Fatalf("no such phase: %q", name)
		}
	}
	s.prepare(b)
	for _, p := range phases {
		if len(s.plan.phases) > 0 && !slices.Contains(s.plan.phases, p.name) {
			continue
		}
		b.Run(p.name, func(b *testing.B) {
			p.run(newStage(b, s))
			b.ReportMetric(0, "ns/op")
		})
	}
	s.finish(b)
}

// suite is what the phases share.
type suite struct {
	plan      plan
	report    *report.Report
	holdfast  string // binary
	baselines string // binary
	postgres  *harness.OwnEnv
}

// crowd is how many connections most phases use, and inhabitants how many people
// there are to buy.
const (
	crowd       = 256
	inhabitants = 1000
)

// prepare builds the binaries and starts Postgres, which for tests runs without
// fsync, as a shop would have it: what is committed is on disk.
func (s *suite) prepare(b *testing.B) {
	b.Helper()
	dir := b.TempDir()
	s.holdfast = must(harness.Build(dir, false))
	s.baselines = filepath.Join(dir, "baselines")
	if out, err := exec.Command("go", "build", "-o", s.baselines, "./baselines").CombinedOutput(); err != nil {
		b.Fatalf("build the baselines: %v\n%s", err, out)
	}
	s.postgres = harness.Own(b, harness.OwnOptions{PostgresSettings: []string{
		"fsync=on", "full_page_writes=on", "synchronous_commit=on",
		// Room enough that no checkpoint falls into anybody's turn.
		"shared_buffers=512MB", "max_wal_size=16GB", "checkpoint_timeout=1h", "max_connections=200",
	}})
	s.postgres.StopRedis() // each phase has its own
	s.report = &report.Report{
		At: time.Now(), Machine: s.machine(b), Connections: crowd, Rounds: s.plan.rounds, Seconds: s.plan.turn.Seconds(),
	}
}

// chart is the picture of a README: what a shop does.
var chart = report.Chart{
	Phases: []string{"reserve", "soldout", "checkout", "browse"}, Own: holdfast, Ceiling: ceiling,
	Without: []string{engineBatch, engineSingle},
}

// finish prints and writes the report.
func (s *suite) finish(b *testing.B) {
	b.Helper()
	s.report.Correct = !b.Failed()
	judge(s.report)
	fmt.Println()
	s.report.Print(os.Stdout)
	check(b, os.MkdirAll(s.plan.out, 0o755))
	for name, content := range map[string][]byte{
		"bench.json": append(must(json.MarshalIndent(s.report, "", "  ")), '\n'),
		"bench.svg":  chart.Draw(s.report),
	} {
		path := filepath.Join(s.plan.out, name)
		check(b, os.WriteFile(path, content, 0o644))
		fmt.Println("Written:", path)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Error(err)
	}
}
