package sim

import (
	"strings"
	"testing"
)

func TestStats(t *testing.T) {
	w := &World{}
	n := map[string]int{}
	for seed := uint64(1); seed < 6000; seed++ {
		w.Run(seed, Options{Trace: true})
		if w.faults&faultPause == 0 {
			continue
		}
		n["pause worlds"]++
		if w.sales > 0 {
			n["sales"]++
		}
		if len(w.pg.Lost) > 0 {
			n["lost"]++
		}
		if w.pg.Admitted > 1 {
			n["admitted 2+"]++
		}
		tr := strings.Join(w.trace, "\n")
		before, _, _ := strings.Cut(tr, "healed")
		if strings.Contains(before, "wakes") {
			n["wakes"]++
			_, after, _ := strings.Cut(before, "wakes")
			if strings.Contains(after, "admit (") {
				n["admit after wake"]++
			}
			if strings.Contains(after, "superseded") {
				n["superseded after wake"]++
			}
			if strings.Contains(after, "replica now") {
				n["demoted"]++
			}
		}
		if strings.Contains(before, "look ") {
			n["looks"]++
		}
		if strings.Contains(before, "report ") {
			n["reports before heal"]++
		}
		n["tracelen"] += len(w.trace)
		n["told holds"] += w.holds
		n["told sales"] += w.sales
	}
	t.Log(n)
}
