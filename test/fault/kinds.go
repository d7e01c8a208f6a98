package fault

import (
	"math/rand/v2"
	"slices"
	"time"
)

// faultKind is a kind of fault, of which a schedule takes some.
type faultKind struct {
	name  string
	on    []topology // nil: all
	hits  target
	lasts [2]time.Duration // at least, at most

	// stopsSweep: lapsed holds may wait while it lasts.
	stopsSweep bool
	// forgets is how far back Redis may forget what it acknowledged, which has
	// then to be reported as lost; 0: it forgets nothing.
	forgets time.Duration
	// replaced: the server that it hits is dead until it is healed, and another
	// takes its place meanwhile.
	replaced bool
	// wakes: the processes that it hits go on afterwards, with what they knew.
	wakes bool
	// everysec: it needs a Redis that may lose the last second.
	everysec bool

	make func(w *world, rng *rand.Rand) fault
}

// target is what a fault hits: of each only one thing is broken at a time.
type target string

const (
	hitsRedis    target = "Redis"
	hitsPostgres target = "Postgres"
	hitsProcess  target = "processes"
	hitsClients  target = "the clients' links"
	hitsHints    target = "hints" // what Redis tells by itself, and what it caches
	hitsAll      target = "all"   // nothing else at the same time
)

func brief(from, to int) [2]time.Duration {
	return [2]time.Duration{time.Duration(from) * time.Millisecond, time.Duration(to) * time.Millisecond}
}

func of(f func() fault) func(*world, *rand.Rand) fault {
	return func(*world, *rand.Rand) fault { return f() }
}

// wired is a kind of bad links.
func wired(l link, toxics func(*rand.Rand) []toxic) func(*world, *rand.Rand) fault {
	return func(w *world, rng *rand.Rand) fault { return badWires{w.oneOrAll(rng, l), toxics(rng)} }
}

// kills tells whether instances end.
func (k faultKind) kills() bool { return k.hits == hitsAll || k.hits == hitsProcess && !k.wakes }

// kinds are all faults, in the order in which the short form goes through them.
func kinds() []faultKind {
	one := []topology{single}
	list := []faultKind{
		{name: "redis reply lost", on: one, hits: hitsRedis, lasts: brief(800, 3000), make: of(lostRedisReplies)},
		{name: "redis paused", on: one, hits: hitsRedis, lasts: brief(300, 3500), stopsSweep: true, make: of(redisPaused)},
		{name: "redis killed", on: one, hits: hitsRedis, lasts: brief(50, 1500), stopsSweep: true, make: of(redisKilled)},
		{name: "scripts flushed", hits: hitsHints, lasts: brief(500, 3000), make: of(scriptsFlushed)},
		{name: "clients killed", hits: hitsHints, lasts: brief(500, 3000), stopsSweep: true, make: of(clientsKilled)},
		// Redis has to answer when it begins and when it ends.
		{name: "notifications off", hits: hitsRedis, lasts: brief(1000, 4000), make: of(notificationsOff)},
		{name: "false expiries", hits: hitsHints, lasts: brief(1000, 3000), make: of(falseExpiries)},
		{name: "memory full", on: one, hits: hitsRedis, lasts: brief(500, 2500), make: of(memoryFull)},

		{name: "flushall", on: one, hits: hitsRedis, stopsSweep: true, forgets: forgetsAll, make: of(flushAll)},
		{name: "redis emptied", on: one, hits: hitsRedis, lasts: brief(50, 1000), stopsSweep: true, forgets: forgetsAll, make: of(redisEmptied)},
		{name: "power lost", on: one, hits: hitsRedis, lasts: brief(50, 1000), stopsSweep: true, forgets: forgetsUnsynced, everysec: true, make: func(*world, *rand.Rand) fault { return powerLost{} }},

		{name: "instance killed", hits: hitsProcess, lasts: brief(10, 1500), make: oneKilled},
		{name: "writer killed at its commit", hits: hitsProcess, lasts: brief(10, 1000), make: oneKilledAtCommit},
		{name: "all instances killed", hits: hitsProcess, lasts: brief(10, 700), stopsSweep: true, make: allKilled},
		{name: "instance paused", hits: hitsProcess, lasts: brief(300, 3500), wakes: true, make: onePaused},
		{name: "rolling restart", hits: hitsAll, make: func(*world, *rand.Rand) fault { return rolling{} }},

		{name: "postgres stopped", hits: hitsPostgres, lasts: brief(300, 2000), make: of(postgresStopped)},
		{name: "postgres killed", hits: hitsPostgres, lasts: brief(100, 1500), make: of(postgresKilled)},
		{name: "postgres slow", hits: hitsPostgres, lasts: brief(1500, 4000), make: func(w *world, _ *rand.Rand) fault { return slowPostgres(w) }},
		{name: "postgres out of connections", hits: hitsPostgres, lasts: brief(800, 2500), make: func(*world, *rand.Rand) fault { return &hogged{} }},
		{name: "postgres disk full", hits: hitsPostgres, lasts: brief(800, 2500), make: func(*world, *rand.Rand) fault { return &diskFull{} }},
		{name: "commit unknown", hits: hitsPostgres, lasts: brief(800, 3000), make: of(commitUnknown)},
	}
	ways := []struct {
		name   string
		toxics func(*rand.Rand) []toxic
	}{
		{"latency", latency}, {"slow close", slowClose}, {"limited data", limitData},
		{"reset", resetPeer}, {"bandwidth", bandwidth}, {"silence", silence},
	}
	for _, way := range ways {
		list = append(list,
			faultKind{name: "clients: " + way.name, hits: hitsClients, lasts: brief(500, 2500), make: wired(toClients, way.toxics)},
			faultKind{
				name: "redis: " + way.name, on: one, hits: hitsRedis, lasts: brief(500, 2500), stopsSweep: true,
				make: wired(toRedis, way.toxics),
			},
			faultKind{name: "postgres: " + way.name, hits: hitsPostgres, lasts: brief(500, 2500), make: wired(toPostgres, way.toxics)})
	}
	return append(list, topologyKinds()...)
}

// kindsOn are the kinds that a deployment can have.
func kindsOn(s setup) []faultKind {
	return slices.DeleteFunc(kinds(), func(k faultKind) bool {
		return k.on != nil && !slices.Contains(k.on, s.topology) || k.everysec && s.fsync != "everysec"
	})
}

// draw makes a schedule of n faults of a round that lasts so long. What hits
// the same target, or hits all, does not overlap: it is left out where it does
// not fit.
func draw(w *world, rng *rand.Rand, lasts time.Duration, from []faultKind, n int) plan {
	var p plan
	for _, i := range rng.Perm(len(from))[:min(n, len(from))] {
		if f, ok := place(w, rng, lasts, from[i], p); ok {
			p = append(p, f)
		}
	}
	return p
}

// place finds a time for one more fault in a schedule.
func place(w *world, rng *rand.Rand, lasts time.Duration, k faultKind, p plan) (planned, bool) {
	const gap = 300 * time.Millisecond
	for range 20 {
		f := planned{
			kind: k.name, hits: k.hits, lasts: k.lasts[0],
			stopsSweep: k.stopsSweep, forgets: k.forgets, replaced: k.replaced, kills: k.kills(),
		}
		if k.lasts[1] > k.lasts[0] {
			f.lasts += time.Duration(rng.Int64N(int64(k.lasts[1] - k.lasts[0])))
		}
		f.lasts = min(f.lasts, lasts/2)
		within := lasts - f.lasts - gap
		if k.forgets > 0 {
			within /= 2 // so that much is seen after it
		}
		f.at = gap + time.Duration(rng.Int64N(int64(within)))
		overlaps := slices.ContainsFunc(p, func(o planned) bool {
			return (o.hits == f.hits || o.hits == hitsAll || f.hits == hitsAll) &&
				f.at < o.at+o.lasts+gap && o.at < f.at+f.lasts+gap
		})
		// What an instance has acknowledged and Redis lost only that instance
		// can report: where it is killed too, nobody can. One that is merely
		// stopped wakes with answers of the lost server in its sockets, and can.
		silent := slices.ContainsFunc(p, func(o planned) bool {
			return k.forgets > 0 && o.kills || o.forgets > 0 && k.kills()
		})
		if !overlaps && !silent {
			f.fault = k.make(w, rng)
			return f, true
		}
	}
	return planned{}, false
}
