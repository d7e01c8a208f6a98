// Package load drives an HTTP/1.1 server with many keep-alive connections and
// counts what came of it: how many won, how many were refused and why, and how
// long each took.
//
// A closed loop has each worker send its next request once it has its answer,
// so it measures how much a server can do. An open loop has requests arrive on a
// schedule, whatever the server does, and counts the time of each from the
// moment when it should have been sent, so a server that stalls is charged for
// all who waited meanwhile (no coordinated omission).
//
// The driver shares the machine with what it measures, so it does little:
// requests are prebuilt, a call is one write and one read on the worker's own
// connection, and nothing is allocated for it.
package load
