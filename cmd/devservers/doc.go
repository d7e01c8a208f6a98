// Package devservers runs a private Redis and a private Postgres of the
// machine as child processes: for `holdfast dev`, which keeps their data in a
// folder of the user's, and for tests, whose data is thrown away.
//
// The servers listen on unix sockets, or on loopback TCP where asked, and on
// nothing else. They live in process groups of their own, so that a Ctrl-C in
// the terminal reaches only their owner, which stops them in order; on Linux
// the kernel stops them when the owner is killed.
package devservers
