package harness

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// FreePort gives a TCP port of the loopback that is the test's until its end:
// a server may be started there, killed, and started once more.
//
// Servers of tests that run side by side, in one process or in several, begin
// to listen long after their port was chosen. So the UDP port of the same
// number is kept as the claim, which no other test can have meanwhile. The
// ports lie below those that systems hand out for outgoing connections.
func FreePort(tb testing.TB) string {
	tb.Helper()
	const lowest, highest, tries = 15_000, 32_000, 100
	for range tries {
		port := strconv.Itoa(lowest + rand.IntN(highest-lowest))
		addr := net.JoinHostPort("127.0.0.1", port)
		claim, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			tb.Cleanup(func() { _ = claim.Close() })
			return port
		}
		_ = claim.Close()
	}
	tb.Fatalf("no free port in %d … %d", lowest, highest)
	return ""
}
