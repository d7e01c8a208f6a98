package sim

import (
	"slices"
	"testing"
	"time"
)

// sweep runs n seeds from first and returns the first violation, nil if there is none.
func sweep(w *World, first uint64, n int, o Options) *Violation {
	for seed := first; seed < first+uint64(n); seed++ {
		if w.Run(seed, o) != "" {
			return w.Shrink(seed, o)
		}
	}
	return nil
}

func TestWorldsKeepThePromises(t *testing.T) {
	w := &World{}
	began := time.Now()
	const n = 20000
	if v := sweep(w, 1, n, Options{}); v != nil {
		t.Fatalf("a promise is broken: %s", v)
	}
	t.Logf("%d seeds in %v: %.0f a minute", n, time.Since(began), n/time.Since(began).Minutes())
}

func TestSeedsReplay(t *testing.T) {
	a, b := &World{}, &World{}
	for seed := range uint64(300) {
		a.Run(seed, Options{Trace: true})
		b.Run(seed, Options{Trace: true})
		if !slices.Equal(a.trace, b.trace) {
			t.Fatalf("seed %d gave two traces", seed)
		}
		before := slices.Clone(a.trace)
		b.Run(seed+1, Options{}) // whatever a world was before leaves nothing
		b.Run(seed, Options{Trace: true})
		if !slices.Equal(before, b.trace) {
			t.Fatalf("seed %d depends on the world before", seed)
		}
	}
}
