package sim

import (
	"testing"
	"time"
)

func TestLong(t *testing.T) {
	w := &World{}
	began := time.Now()
	seed := uint64(1086000)
	for ; time.Since(began) < 25*time.Second; seed++ {
		if what := w.Run(seed, Options{}); what != "" {
			t.Errorf("%d (faults %b): %s", seed, w.faults, what)
		}
	}
	t.Log(seed)
}
