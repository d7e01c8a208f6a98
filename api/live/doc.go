// Package live tells connected clients of every change of a drop, newest state
// first: over WebSocket (/ws) and over Socket.IO (/socket.io/), as docs/LIVE.md
// says.
//
// One Hub an instance hears the engine's events and keeps the newest state of
// each drop on its board. What has changed goes out in rounds, encoded once for
// everybody. A round knows nothing of its readers: each connection has one
// goroutine that waits for the next round, takes what it has not told yet and
// writes that. One that writes slowly skips rounds and takes the newest state
// when it is back, so nothing is ever queued for it.
package live
