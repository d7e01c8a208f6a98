package harness

import (
	"net"
	"sync"
	"testing"
)

func TestFreePortsAreEachGivenOnce(t *testing.T) {
	const askers, each = 20, 50
	var mu sync.Mutex
	given := map[string]bool{}
	var all sync.WaitGroup
	for range askers {
		all.Go(func() {
			for range each {
				port := FreePort(t)
				mu.Lock()
				if given[port] {
					t.Errorf("port %s was given twice", port)
				}
				given[port] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for port := range given {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
	}
}
