package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
)

// badWires is something wrong with one or several links.
type badWires struct {
	wires  []*wire
	toxics []toxic
}

func (f badWires) String() string {
	names := make([]string, len(f.wires))
	for i, w := range f.wires {
		names[i] = w.name
	}
	what := make([]string, len(f.toxics))
	for i, t := range f.toxics {
		what[i] = fmt.Sprint(t.Type, t.Attributes)
	}
	return strings.Join(what, " and ") + " on " + strings.Join(names, ", ")
}

func (f badWires) inject(*world) error {
	errs := make([]error, 0, len(f.wires)*len(f.toxics))
	for _, w := range f.wires {
		for _, t := range f.toxics {
			errs = append(errs, w.add(t))
		}
	}
	return errors.Join(errs...)
}

func (f badWires) heal(*world) error {
	errs := make([]error, 0, len(f.wires)*len(f.toxics))
	for _, w := range f.wires {
		for _, t := range f.toxics {
			errs = append(errs, w.remove(t.Name))
		}
	}
	return errors.Join(errs...)
}

// link is one of the three that an instance has.
type link string

const (
	toClients  link = "clients"
	toRedis    link = "Redis"
	toPostgres link = "Postgres"
)

func (w *world) wires(l link, of ...*instance) (all []*wire) {
	for _, in := range of {
		switch l {
		case toClients:
			all = append(all, in.client)
		case toRedis:
			all = append(all, in.redis)
		case toPostgres:
			all = append(all, in.postgres)
		}
	}
	return all
}

// oneOrAll is the links of one instance, or of all.
func (w *world) oneOrAll(rng *rand.Rand, l link) []*wire {
	if rng.IntN(2) == 0 {
		return w.wires(l, w.instances...)
	}
	return w.wires(l, w.instances[rng.IntN(len(w.instances))])
}

// The ways of a bad network.

func latency(rng *rand.Rand) []toxic {
	ms := 20 + rng.IntN(300)
	return []toxic{{"slow", "latency", "downstream", 1, map[string]any{"latency": ms, "jitter": ms / 2}}}
}

func slowClose(*rand.Rand) []toxic {
	return []toxic{
		{"slow close", "slow_close", "downstream", 1, map[string]any{"delay": 800}},
		{"end early", "limit_data", "downstream", 0.5, map[string]any{"bytes": 4000}},
	}
}

// limitData ends each connection after some bytes, in the middle of an answer.
func limitData(rng *rand.Rand) []toxic {
	stream := []string{"downstream", "upstream"}[rng.IntN(2)]
	return []toxic{{"end", "limit_data", stream, 1, map[string]any{"bytes": 200 + rng.IntN(6000)}}}
}

func resetPeer(rng *rand.Rand) []toxic {
	return []toxic{{"reset", "reset_peer", "downstream", 0.7, map[string]any{"timeout": rng.IntN(300)}}}
}

func bandwidth(rng *rand.Rand) []toxic {
	return []toxic{{"narrow", "bandwidth", "upstream", 1, map[string]any{"rate": 1 + rng.IntN(8)}}}
}

// silence swallows everything, and keeps the connections.
func silence(*rand.Rand) []toxic {
	return []toxic{{"silent", "timeout", "downstream", 1, map[string]any{"timeout": 0}}}
}
