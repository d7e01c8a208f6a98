// Package bench measures Holdfast beside what people would pick instead, in one
// run on one machine: the figures depend on the machine, their ratios much less.
//
//	make bench                                       # all, 3 rounds of 3 s a turn: about 15 minutes
//	make bench PHASES=reserve,soldout ROUNDS=1 SECONDS=2
//	make bench-live                                  # the live feed: BenchmarkLive
//
// # The contenders
//
// All serve the same calls over HTTP/1.1, each as a process of its own:
//
//   - HTTP alone: a fiber server that answers constants, without reading what was
//     asked. GET /api/drops gives the very bytes that Holdfast gives. It is the
//     ceiling of anything on fiber, on this machine, with this driver.
//   - Holdfast: the binary, holdfast serve with all roles, so its writer and its
//     expirer run; a Redis of its own with the settings it asks for
//     (appendonly yes, appendfsync always), and Postgres.
//   - Postgres by SELECT … FOR UPDATE, by one statement a request, and with waiting
//     requests grouped into one statement: test/bench/baselines. The last is
//     measured with purchases grouped too, its strongest form, and with reserves
//     alone grouped.
//
// Without HTTP, in the driver's process, for comparison: the least Redis script
// that takes a unit, one call a reservation over as many connections, with and
// without persistence; and Holdfast's engine as it is, and with one reservation
// a call.
//
// Postgres is one server for all, with fsync, full_page_writes and
// synchronous_commit on (the bench fails where they are not), shared_buffers of
// 512 MB, and room enough in the WAL that no checkpoint falls into a turn. Stores are
// reached over Unix sockets where they run on this machine.
//
// # How
//
// The driver is package cmd/load: 256 keep-alive connections, one worker each, a
// closed loop but where it is said. It shares the machine with what it measures,
// and takes about as much of it as a server that answers constants.
//
// Each phase has fresh contenders, with databases and a Redis of their own. They take
// turns, round after round, so that what happens to the machine meanwhile meets
// all alike; a warm-up of 0.3 s precedes each turn, and what it left to do
// (Holdfast's writer) is waited for after it. Figures are medians of the rounds, with
// the least and the most; a ratio is of the turns of one round, and then the median.
//
//	reserve    reserves that succeed, of one drop with plenty; reserve64: with 64 connections
//	soldout    answers that a drop is sold out, after its 500 units went in 1,500 tries
//	checkout   a reserve and the purchase of it, by one buyer after the other
//	browse     GET /api/drops of 20 drops with their buyers
//	latency    reserves on a schedule, at half of the rate of phase reserve (open loop:
//	           the time of each counts from when it was due)
//	writer     purchases into Postgres out of ledgers that were filled without a writer,
//	           from its first commit on
//	restore    50,000 holds of 200 drops that lapse within 0.1 s: from the first deadline
//	           until the last unit is back
//	idle       memory and processor of an instance with 1,000 open drops
//	flat       reserve and checkout where much is there already: 10,000 open drops, 500,000
//	           live holds, 1,000,000 sold of the drop; and two instances
//	cluster    reserves over 16 drops, whose partitions lie on one, two and three masters
//
// Every phase checks what it was told: that exactly what there is was sold, that each
// id came once, that the drop's counters are what was answered, that a list of drops
// is right to the byte, and in the end by holdfast audit that Redis and Postgres have the
// same. Any difference fails the run. A missed goal does not: it is printed as missed.
//
// bench.json has every round, bench.svg is the README's picture (bin/bench).
package bench
