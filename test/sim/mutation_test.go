package sim

import (
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestProbe(t *testing.T) {
	w := &World{}
	ty := reflect.TypeFor[Guards]()
	for i := range ty.NumField() {
		var g Guards
		reflect.ValueOf(&g).Elem().Field(i).SetBool(true)
		if only := os.Getenv("ONLY"); only != "" && !strings.Contains(only, ty.Field(i).Name) {
			continue
		}
		found := false
		began := time.Now()
		var among Faults
		if s := os.Getenv("AMONG"); s != "" {
			n, _ := strconv.Atoi(s)
			among = Faults(n)
		}
		for seed := uint64(1); time.Since(began) < 8*time.Second; seed++ {
			if what := w.Run(seed, Options{Guards: g, Among: among}); what != "" {
				t.Logf("%-14s %7d %s", ty.Field(i).Name, seed, what)
				found = true
				break
			}
		}
		if !found {
			t.Errorf("%-14s NOTHING", ty.Field(i).Name)
		}
	}
}
