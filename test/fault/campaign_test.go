package fault

import (
	"os"
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
	for seed := range uint64(2) {
		out := w.round(roundSetup{seed: seed, buyers: 8, lasts: 5 * time.Second, artwork: t.TempDir()})
		for _, v := range out.violations {
			t.Error(v)
		}
		t.Logf("%d operations, %d unknown, %d undecided, %d lapsed", out.ops, out.unknown, out.undecided, len(out.late))
	}
}
