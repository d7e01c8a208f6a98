package sim

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// sweep runs n seeds from first and returns the first violation in its
// shortest form; nil if there is none.
func sweep(w *World, first uint64, n int, o Options) *Violation {
	for seed := first; seed < first+uint64(n); seed++ {
		if w.Run(seed, o) != "" {
			return w.Shrink(seed, o)
		}
	}
	return nil
}

// TestWorldsKeepThePromises is the short campaign of every test run.
func TestWorldsKeepThePromises(t *testing.T) {
	t.Parallel()
	const n = 15_000
	began := time.Now()
	if v := sweep(&World{}, 1, n, Options{}); v != nil {
		t.Fatalf("a promise is broken: %s", v)
	}
	// Told, not judged: how busy the machine is says more here than the simulator
	// does, and BenchmarkWorlds measures.
	took := time.Since(began)
	t.Logf("%d seeds in %v on one core: %.0f a minute", n, took.Round(time.Millisecond), n/took.Minutes())
}

// TestCampaign runs HOLDFAST_SIM_SEEDS seeds from HOLDFAST_SIM_FROM (1), for
// `make sim`; without the first it does nothing, since the test above is its short form.
func TestCampaign(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("HOLDFAST_SIM_SEEDS"))
	if err != nil {
		return
	}
	from, err := strconv.ParseUint(os.Getenv("HOLDFAST_SIM_FROM"), 10, 64)
	if err != nil {
		from = 1
	}
	const lot = 50_000
	w, began := &World{}, time.Now()
	for done := 0; done < n; {
		some := min(lot, n-done)
		if v := sweep(w, from+uint64(done), some, Options{}); v != nil {
			t.Fatalf("a promise is broken: %s", v)
		}
		done += some
		t.Logf("%d of %d seeds, no violation, %.0f seeds a minute", done, n, float64(done)/time.Since(began).Minutes())
	}
}

// TestSeedsReplay: the same seed gives the same world, whatever was before.
func TestSeedsReplay(t *testing.T) {
	t.Parallel()
	a, b := &World{}, &World{}
	for seed := range uint64(200) {
		a.Run(seed, Options{Trace: true})
		b.Run(seed+1, Options{})
		b.Run(seed, Options{Trace: true})
		if !slices.Equal(a.trace, b.trace) {
			t.Fatalf("seed %d gave two traces", seed)
		}
	}
}

// TestWorldsAreNotDull: the seeds reach what the promises are about.
func TestWorldsAreNotDull(t *testing.T) {
	t.Parallel()
	w := &World{}
	var sales, persisted, lost, epochs, restored, crashes int
	for seed := range uint64(2000) {
		w.Run(seed, Options{})
		sales += w.sales
		persisted += len(w.pg.Purchases)
		lost += len(w.pg.Lost)
		epochs += int(w.pg.Epoch)
		restored += w.restored
		for i := range w.instance {
			crashes += int(w.instance[i].life)
		}
	}
	t.Logf("2,000 worlds: %d purchases told, %d in Postgres, %d reported as lost, %d epochs, %d purchases put back, %d instances killed",
		sales, persisted, lost, epochs, restored, crashes)
	for what, n := range map[string]int{
		"purchases": sales, "purchases in Postgres": persisted, "lost purchases": lost, "epochs": epochs,
		"restored purchases": restored, "killed instances": crashes,
	} {
		if n < 100 {
			t.Errorf("only %d %s in 2,000 worlds", n, what)
		}
	}
}

func BenchmarkWorlds(b *testing.B) {
	w := &World{}
	b.ReportAllocs()
	seed := uint64(0)
	for b.Loop() {
		if what := w.Run(seed, Options{}); what != "" {
			b.Fatalf("seed %d: %s", seed, what)
		}
		seed++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Minutes(), "seeds/minute")
}
