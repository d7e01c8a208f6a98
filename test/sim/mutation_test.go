package sim

import (
	"reflect"
	"testing"
	"time"
)

func TestProbe(t *testing.T) {
	w := &World{}
	ty := reflect.TypeFor[Guards]()
	for i := range ty.NumField() {
		var g Guards
		reflect.ValueOf(&g).Elem().Field(i).SetBool(true)
		first := func(among Faults, d time.Duration) (uint64, string) {
			began := time.Now()
			for seed := uint64(1); time.Since(began) < d; seed++ {
				if what := w.Run(seed, Options{Guards: g, Among: among}); what != "" {
					return seed, what
				}
			}
			return 0, ""
		}
		seed, what := first(0, 300*time.Millisecond)
		if seed == 0 || seed > 1000 {
			for _, p := range profiles[1:] {
				if s, wh := first(p, 600*time.Millisecond); s != 0 {
					t.Logf("   %-14s among %b: %7d %s", ty.Field(i).Name, p, s, wh)
				}
			}
		}
		t.Logf("%-14s %7d %s", ty.Field(i).Name, seed, what)
	}
}
