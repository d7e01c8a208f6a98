package api

import (
	"testing"
	"testing/synctest"
	"time"
)

// However often somebody asks: the stores are asked once, and again a moment later.
func TestReadinessIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m readinessMemory
		asked := 0
		ask := func() readiness {
			time.Sleep(time.Second) // stores that take their time
			asked++
			return readiness{Fencing: fencingComponent{Fenced: asked}}
		}
		everybody := func(want int) {
			t.Helper()
			for range 100 {
				if got := m.or(ask).Fencing.Fenced; got != want {
					t.Fatalf("what the stores said the %d. time, want the %d.", got, want)
				}
			}
		}
		everybody(1)
		time.Sleep(readinessAge)
		everybody(1)
		time.Sleep(time.Nanosecond)
		everybody(2)
	})
}
