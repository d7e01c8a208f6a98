package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// A setting that Redis should have, and what it costs to be without it.
type setting struct {
	name   string
	ok     func(value string) bool
	want   string
	breaks bool // a promise, without any fault of others
	costs  string
}

func is(want string) func(string) bool { return func(v string) bool { return v == want } }

func atLeast(want int) func(string) bool {
	return func(v string) bool { n, err := strconv.Atoi(v); return err == nil && n >= want }
}

var settings = []setting{
	{"maxmemory-policy", is("noeviction"), "noeviction", true,
		"Redis may throw away stock, holds and receipts when memory runs out: units are oversold or lost"},
	{"appendonly", is("yes"), "yes", true,
		"a restart of Redis forgets holds and purchases that were acknowledged"},
	{"appendfsync", is("always"), "always", true,
		"a crash of Redis can lose up to two seconds of acknowledged purchases"},
	{notifySetting, hasExpiredEvents, "Ex", false,
		"lapsed holds are found by the deadline sweep alone"},
}

// timing are settings that cost no more than the sweep makes good: named to who
// looks for what could be better, not at each start.
var timing = []setting{
	{"hz", atLeast(100), "100", false,
		"Redis announces lapsed holds late; the deadline sweep finds them in time"},
	{"active-expire-effort", atLeast(10), "10", false,
		"Redis announces only some of many holds that lapse at once; the deadline sweep finds the others"},
}

const notifySetting = "notify-keyspace-events"

func hasExpiredEvents(v string) bool {
	return strings.Contains(v, "E") && strings.ContainsAny(v, "xA")
}

// SettingProblem is one setting of Redis that is not as it should be.
type SettingProblem struct {
	Setting string // its name; "" where none can be read
	Breaks  bool   // without any fault of others it breaks a promise
	Says    string // a sentence: what it is, should be, and costs
}

// CheckSettings compares the settings of Redis, on a cluster of every master,
// with those that the promises rest on and returns a sentence for each that
// breaks one. Expired-key events are switched on where that is allowed. It fails
// only when Redis does not answer.
func (e *Engine) CheckSettings(ctx context.Context) ([]string, error) {
	found, err := e.reviewSettings(ctx, true)
	problems := make([]string, 0, len(found))
	for _, p := range found {
		problems = append(problems, p.Says)
	}
	return problems, err
}

// ReviewSettings is CheckSettings for who wants to know more: it also names what
// only makes Redis announce lapsed holds late, and changes nothing.
func (e *Engine) ReviewSettings(ctx context.Context) ([]SettingProblem, error) {
	return e.reviewSettings(ctx, false)
}

func (e *Engine) reviewSettings(ctx context.Context, mend bool) ([]SettingProblem, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	cluster, ok := e.redis.(*redis.ClusterClient)
	if !ok {
		return reviewServer(ctx, e.redis, "Redis", mend)
	}
	masters, err := mastersOf(ctx, cluster, e.cfg.CallTimeout)
	if err != nil {
		return nil, unavailable(err)
	}
	var problems []SettingProblem
	silent := 0
	for _, addr := range slices.Sorted(maps.Keys(masters)) {
		name := "Redis at " + addr
		found, err := reviewServer(ctx, masters[addr], name, mend)
		if err != nil {
			silent++
			found = []SettingProblem{{Says: fmt.Sprintf("%s does not answer (%v): its settings are not checked", name, err)}}
		}
		if problems = append(problems, found...); silent == len(masters) {
			return nil, err
		}
	}
	return problems, nil
}

func reviewServer(ctx context.Context, c redis.Cmdable, name string, mend bool) ([]SettingProblem, error) {
	var problems []SettingProblem
	wanted := settings
	if !mend {
		wanted = slices.Concat(settings, timing)
	}
	for _, s := range wanted {
		have, err := c.ConfigGet(ctx, s.name).Result()
		if err != nil {
			if pingErr := c.Ping(ctx).Err(); pingErr != nil {
				return nil, unavailable(pingErr)
			}
			return []SettingProblem{{Says: fmt.Sprintf("%s does not let its settings be read (%v): see to it that it has maxmemory-policy noeviction, "+
				"appendonly yes, appendfsync always and notify-keyspace-events Ex", name, err)}}, nil
		}
		value := have[s.name]
		if s.ok(value) {
			continue
		}
		if s.name == notifySetting && mend {
			if c.ConfigSet(ctx, s.name, value+"Ex").Err() == nil {
				continue
			}
		}
		problems = append(problems, SettingProblem{
			Setting: s.name, Breaks: s.breaks,
			Says: fmt.Sprintf("%s has %s %q and should have %q: %s", name, s.name, value, s.want, s.costs),
		})
	}
	replicas := replicasOf(ctx, c)
	const enough = "min-replicas-to-write"
	if have, err := c.ConfigGet(ctx, enough).Result(); err == nil && replicas > 0 && have[enough] == "0" {
		problems = append(problems, SettingProblem{Setting: enough, Says: fmt.Sprintf("%s has %d replicas and %s 0, and should have 1 or more: "+
			"when it is cut off and a replica takes its place, it goes on accepting holds and purchases that will be lost", name, replicas, enough)})
	}
	return problems, nil
}

// replicasOf is how many replicas follow the server; 0 where it does not say.
func replicasOf(ctx context.Context, c redis.Cmdable) int {
	info, err := c.Info(ctx, "replication").Result()
	if err != nil {
		return 0
	}
	return int(infoNumber(info, "connected_slaves"))
}
