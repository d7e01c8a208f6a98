package fault

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

// binary is the command under test, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "holdfast-fault-")
	if err == nil {
		binary, err = harness.Build(dir, os.Getenv("HOLDFAST_FAULT_RACE") != "0")
	}
	if err != nil {
		println("fault:", err.Error())
		_ = os.RemoveAll(dir)
		os.Exit(1)
	}
	harness.Main(m, harness.Options{Migrate: persist.Migrate, After: func() error { return os.RemoveAll(dir) }})
}

func TestQuiet(t *testing.T) {
	w := newWorld(t, setup{topology: single, instances: 2, binary: binary})
	w.rounds(0, 1, func(*rand.Rand) plan { return nil })
}

// TestEachFault goes through all kinds of faults on one node, two a round.
func TestEachFault(t *testing.T) {
	w := newWorld(t, setup{topology: single, instances: 3, binary: binary})
	all := kindsOn(single)
	if only := os.Getenv("HOLDFAST_FAULT_ONLY"); only != "" {
		all = slices.DeleteFunc(all, func(k faultKind) bool { return !strings.Contains(k.name, only) })
	}
	for i, k := range all {
		w.rounds(uint64(i), 1, func(rng *rand.Rand) plan {
			f, _ := place(w, rng, shortRound, k, nil)
			return plan{f}
		})
	}
}

const shortRound = 4 * time.Second

func (w *world) rounds(from uint64, n int, draw func(*rand.Rand) plan) {
	for seed := from; seed < from+uint64(n); seed++ {
		rng := rand.New(rand.NewPCG(seed, 7))
		p := draw(rng)
		began := time.Now()
		out := w.round(roundSetup{seed: seed, buyers: 8, lasts: shortRound, plan: p, artwork: os.TempDir()})
		for _, v := range out.violations {
			w.t.Error(v)
		}
		w.t.Logf("%v: seed %d %v: %d operations, %d unknown, %d undecided, %d lapsed",
			time.Since(began), seed, p, out.ops, out.unknown, out.undecided, len(out.late))
	}
}
