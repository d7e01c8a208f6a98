package engine

import (
	"context"
	"fmt"
	"strings"
)

// A setting that Redis must have, and what breaks without it.
type setting struct {
	name  string
	ok    func(value string) bool
	want  string
	costs string
}

func is(want string) func(string) bool { return func(v string) bool { return v == want } }

var settings = []setting{
	{"maxmemory-policy", is("noeviction"), "noeviction",
		"Redis may throw away stock, holds and receipts when memory runs out: units are oversold or lost"},
	{"appendonly", is("yes"), "yes",
		"a restart of Redis forgets holds and purchases that were acknowledged"},
	{"appendfsync", is("always"), "always",
		"a crash of Redis can lose up to two seconds of acknowledged purchases"},
	{"notify-keyspace-events", hasExpiredEvents, "Ex",
		"lapsed holds are found by the deadline sweep alone"},
}

func hasExpiredEvents(v string) bool {
	return strings.Contains(v, "E") && strings.ContainsAny(v, "xA")
}

// CheckSettings compares Redis's settings with those that the promises rest on
// and returns a sentence for each that breaks one. Expired-key events are
// switched on where that is allowed. It fails only when Redis does not answer.
func (e *Engine) CheckSettings(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	var problems []string
	for _, s := range settings {
		have, err := e.redis.ConfigGet(ctx, s.name).Result()
		if err != nil {
			if pingErr := e.Ping(ctx); pingErr != nil {
				return nil, pingErr
			}
			return []string{fmt.Sprintf("Redis does not let its settings be read (%v): see to it that it has maxmemory-policy noeviction, "+
				"appendonly yes, appendfsync always and notify-keyspace-events Ex", err)}, nil
		}
		value := have[s.name]
		if s.ok(value) {
			continue
		}
		if s.name == "notify-keyspace-events" {
			if e.redis.ConfigSet(ctx, s.name, value+"Ex").Err() == nil {
				continue
			}
		}
		problems = append(problems, fmt.Sprintf("Redis has %s %q and should have %q: %s", s.name, value, s.want, s.costs))
	}
	return problems, nil
}
