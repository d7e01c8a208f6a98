package api

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// As many as there is room for wait, others do not.
func TestPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const rooms, callers = 3, 5
		p := newPauses(rooms, time.Minute)
		for range 2 { // the rooms are free again
			var calling sync.WaitGroup
			took := make(chan time.Duration, callers)
			for range callers {
				calling.Go(func() {
					began := time.Now()
					p.take()
					took <- time.Since(began)
				})
			}
			calling.Wait()
			waited := 0
			for range callers {
				switch d := <-took; d {
				case time.Minute:
					waited++
				case 0:
				default:
					t.Errorf("somebody waited %v", d)
				}
			}
			if waited != rooms {
				t.Errorf("%d waited, want %d", waited, rooms)
			}
		}
	})
}
