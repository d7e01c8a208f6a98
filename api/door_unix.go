//go:build unix

package api

import (
	"net"
	"os"
	"syscall"
)

// acceptWaiting accepts what waits at a listener, without waiting itself.
func acceptWaiting(l net.Listener) (waiting []net.Conn) {
	s, ok := l.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) { // fails on a listener that is closed: nothing waits there
		for {
			n, _, err := syscall.Accept(int(fd))
			if err != nil {
				return // none waits
			}
			f := os.NewFile(uintptr(n), "accepted")
			if c, err := net.FileConn(f); err == nil {
				waiting = append(waiting, c)
			}
			_ = f.Close() // FileConn has its own
		}
	})
	return waiting
}
