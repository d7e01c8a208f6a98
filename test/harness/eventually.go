package harness

import (
	"testing"
	"time"
)

// Eventually polls cond until it returns nil, and fails the test with its last
// error when it has not within the given time.
func Eventually(tb testing.TB, within time.Duration, cond func() error) {
	tb.Helper()
	deadline := time.Now().Add(within)
	for {
		err := cond()
		if err == nil {
			return
		}
		if !time.Now().Before(deadline) {
			tb.Fatalf("not within %v: %v", within, err)
			return
		}
		time.Sleep(min(10*time.Millisecond, time.Until(deadline)))
	}
}
