//go:build !unix

package api

import "net"

// acceptWaiting accepts nothing: there is no way to ask without waiting.
func acceptWaiting(net.Listener) []net.Conn { return nil }
