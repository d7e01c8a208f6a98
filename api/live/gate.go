package live

import (
	"net"
	"time"
)

// gate lets a few connections write at a time. A round wakes thousands of
// goroutines at once; all of them in the scheduler's queue would hold up every
// request that arrives meanwhile until the round is told. So they take turns
// there, and requests come in between.
type gate chan struct{}

const (
	// gateWidth is how many write at a time. Wider tells rounds sooner and holds
	// up requests longer.
	gateWidth = 16
	// gateTime is how long one that does not get on may stay in the gate.
	gateTime = 5 * time.Millisecond
)

func newGate() gate { return make(gate, gateWidth) }

// write writes what the connection takes at once: an os.ErrDeadlineExceeded
// says that it took n bytes and that the rest has to wait for its reader.
func (g gate) write(conn net.Conn, frames []byte) (n int, err error) {
	g <- struct{}{}
	defer func() { <-g }()
	if err := conn.SetWriteDeadline(time.Now().Add(gateTime)); err != nil {
		return 0, err
	}
	return conn.Write(frames)
}
