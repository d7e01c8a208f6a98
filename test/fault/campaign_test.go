package fault

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

// binary is the command under test, built once.
var binary string

// The variables of a long campaign, which `make fault` sets.
const (
	envSeeds   = "HOLDFAST_FAULT_SEEDS"   // 7, or 3-9: these alone. Defaults to new ones without end
	envMinutes = "HOLDFAST_FAULT_MINUTES" // how long
	envFaults  = "HOLDFAST_FAULT_KINDS"   // of TestEachFault: those named in it. Defaults to all
	envRace    = "HOLDFAST_FAULT_RACE"    // 0: without the race detector, which is quicker
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "holdfast-fault-")
	if err == nil {
		binary, err = harness.Build(dir, os.Getenv(envRace) != "0")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fault:", err)
		_ = os.RemoveAll(dir)
		os.Exit(1)
	}
	harness.Main(m, harness.Options{Migrate: persist.Migrate, After: func() error { return os.RemoveAll(dir) }})
}

// form is how a campaign is run.
type form struct {
	seeds   []uint64      // these alone; nil: new ones, for as long as lasts
	lasts   time.Duration // 0: until the seeds are done
	block   time.Duration // on one deployment
	artwork string
}

// TestCampaign draws schedules by the seed and checks every round: a few of
// fixed seeds, or with the variables above as many as there is time for.
func TestCampaign(t *testing.T) {
	f, err := formOf(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	c := newTally()
	f.run(t, c)
	t.Logf("\n%s", c.summary())
	for _, v := range c.violations {
		t.Errorf("seed %d (make fault SEEDS=%d): %s", v.seed, v.seed, v.story)
	}
	// Enough holds for a percentile; the race detector makes all of it slower.
	bound := int64(100)
	if os.Getenv(envRace) != "0" {
		bound = 500
	}
	if p99 := percentile(slices.Sorted(slices.Values(c.late)), 0.99); len(c.late) >= 200 && p99 > bound {
		t.Errorf("without faults the 99th percentile from deadline to release is %d ms, over %d", p99, bound)
	}
	if little := c.littleShown(); little != "" {
		t.Error(little)
	}
}

// shortSeeds are those that `make test` goes through, beside TestEachFault.
func shortSeeds() []uint64 { return []uint64{4} }

func formOf(getenv func(string) string) (form, error) {
	f := form{block: 5 * time.Minute, artwork: os.TempDir()}
	seeds, minutes := getenv(envSeeds), getenv(envMinutes)
	if seeds == "" && minutes == "" {
		f.seeds = shortSeeds()
		return f, nil
	}
	if minutes != "" {
		n, err := strconv.ParseFloat(minutes, 64)
		if err != nil || n <= 0 {
			return f, fmt.Errorf("%s is %q: want minutes", envMinutes, minutes)
		}
		f.lasts = time.Duration(n * float64(time.Minute))
		f.block = min(f.block, f.lasts/time.Duration(len(flavours()))) // at least one of each
	}
	if seeds == "" {
		return f, nil
	}
	from, to, ranged := strings.Cut(seeds, "-")
	if !ranged {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 64)
	last, err2 := strconv.ParseUint(to, 10, 64)
	if err := errors.Join(err1, err2); err != nil || last < first {
		return f, fmt.Errorf("%s is %q: want a seed or two with - between", envSeeds, seeds)
	}
	for s := first; s <= last; s++ {
		f.seeds = append(f.seeds, s)
	}
	return f, nil
}

// run goes through the seeds, block after block of one kind of deployment.
func (f form) run(t *testing.T, c *tally) {
	t.Helper()
	all := uint64(len(flavours()))
	if f.seeds != nil {
		for _, of := range flavours() {
			if mine := slices.DeleteFunc(slices.Clone(f.seeds), func(s uint64) bool { return flavourOf(s) != of }); len(mine) > 0 {
				f.runBlock(t, c, of, slices.Values(mine))
			}
		}
		return
	}
	// Seeds that were not used before, of each flavour in turn.
	next := uint64(time.Now().Unix()) * 1000 * all
	for n := uint64(0); time.Since(c.began) < f.lasts; n++ {
		f.runBlock(t, c, flavours()[n%all], func(yield func(uint64) bool) {
			for began := time.Now(); time.Since(began) < f.block && time.Since(c.began) < f.lasts; next += all {
				if !yield(next + n%all) {
					return
				}
			}
		})
	}
}

// runBlock runs the seeds on one deployment. What ends a deployment early,
// such as work that is never done, is a violation of the seed that it met.
func (f form) runBlock(t *testing.T, c *tally, of flavour, seeds iter.Seq[uint64]) {
	t.Helper()
	var seed uint64
	ok := t.Run(string(of), func(t *testing.T) {
		w := newWorld(t, of.setup(binary))
		for next := range seeds {
			seed = next
			s := w.setupOf(seed, f.artwork)
			out := w.round(s)
			c.add(s, of, out)
			fmt.Println(c.progress(s, of))
			for _, v := range out.violations {
				fmt.Printf("VIOLATION %s\n", v)
			}
		}
		w.audit()
	})
	if !ok {
		c.violations = append(c.violations, violation{seed, "the deployment did not get through its block; see its log above"})
	}
}

// setupOf is the round of a seed: now and then without a fault, mostly with
// several.
func (w *world) setupOf(seed uint64, artwork string) roundSetup {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := roundSetup{
		seed: seed, buyers: 6 + rng.IntN(5), artwork: artwork,
		lasts: 4*time.Second + time.Duration(rng.Int64N(int64(5*time.Second))),
	}
	if n := rng.IntN(6); n > 0 {
		s.plan = draw(w, rng, s.lasts, kindsOn(w.setup), min(n, 4))
	}
	return s
}

// TestEachFault goes through all kinds of faults, each on the deployment that
// it is made for, several a round.
func TestEachFault(t *testing.T) {
	t.Parallel()
	only := os.Getenv(envFaults)
	c := newTally()
	var counting sync.Mutex
	t.Cleanup(func() { // once all deployments are through
		t.Logf("\n%s", c.summary())
		if little := c.littleShown(); little != "" {
			t.Error(little)
		}
	})
	done := map[string]bool{}
	for n, of := range flavours() {
		all := slices.DeleteFunc(kindsOn(of.setup(binary)), func(k faultKind) bool {
			return done[k.name] || only != "" && !strings.Contains(only, k.name)
		})
		for _, k := range all {
			done[k.name] = true
		}
		if len(all) == 0 {
			continue
		}
		t.Run(string(of), func(t *testing.T) {
			t.Parallel() // they wait for deadlines and restarts more than they compute
			w := newWorld(t, of.setup(binary))
			seed := uint64(1000 * (n + 1))
			for len(all) > 0 {
				seed++
				s := roundSetup{seed: seed, buyers: 8, lasts: 4 * time.Second, artwork: os.TempDir()}
				s.plan, all = w.pack(seed, s.lasts, all)
				began := time.Now()
				out := w.round(s)
				counting.Lock()
				c.add(s, of, out)
				counting.Unlock()
				t.Logf("seed %d, %v: %v", seed, time.Since(began).Truncate(time.Millisecond), s.plan)
				for _, v := range out.violations {
					t.Errorf("seed %d: %s", seed, v)
				}
			}
			w.audit()
		})
	}
	if len(done) == 0 {
		t.Fatalf("%s is %q, which names no kind of fault", envFaults, only)
	}
}

// pack makes a schedule of the first of the kinds and of what others fit beside
// it, three at most, and gives those that are left.
func (w *world) pack(seed uint64, lasts time.Duration, kinds []faultKind) (p plan, left []faultKind) {
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, k := range kinds {
		if len(p) < 3 {
			if f, ok := place(w, rng, lasts, k, p); ok {
				p = append(p, f)
				continue
			}
		}
		left = append(left, k)
	}
	return p, left
}
