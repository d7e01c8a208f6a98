package fault

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestWrongClocks has the clocks of the API's processes an hour before and an
// hour behind Redis's: no decision may take their time.
//
// Go asks the kernel for the time without libc, so a Go program's clock cannot
// be set apart from the machine's by preloading; a switch in the program that
// only tests use would show little. What counts is the difference, so it is
// Redis that gets the other time: buyers, API and Postgres are an hour off it.
func TestWrongClocks(t *testing.T) {
	shim := filepath.Join(t.TempDir(), "clock.so")
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-O2", "-o", shim, "testdata/clock.c", "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("compile the wrong clock: %v\n%s", err, out)
	}
	for seed, skew := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Setenv("LD_PRELOAD", shim)
			t.Setenv("FAULT_CLOCK_SKEW", fmt.Sprint(skew.Seconds()))
			s := oneNode.setup(binary)
			s.skew, s.instances = skew, 2
			w := newWorld(t, s)
			redis, err := w.redis.Time(t.Context()).Result()
			if off := time.Until(redis) - s.skew; err != nil || off.Abs() > time.Minute {
				t.Fatalf("Redis's clock is not staged: it says %v; %v", redis, err)
			}
			out := w.round(roundSetup{seed: uint64(seed), buyers: 8, lasts: 4 * time.Second, artwork: os.TempDir()})
			for _, v := range out.violations {
				t.Error(v)
			}
			if out.lapsed == 0 {
				t.Error("no hold lapsed")
			}
			w.audit()
		})
	}
}
