package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// TestMissingRights takes each right away in turn from a user that has them all.
func TestMissingRights(t *testing.T) {
	t.Parallel()
	env := harness.Own(t, harness.OwnOptions{RedisOnly: true})
	admin := env.Redis()
	set := func(rules ...any) {
		t.Helper()
		if err := admin.Do(t.Context(), append([]any{"ACL", "SETUSER", "seller"}, rules...)...).Err(); err != nil {
			t.Fatal(rules, err)
		}
	}
	all := make([]any, 0, 64)
	all = append(all, "reset", "on", "nopass", "~"+env.Prefix+":*", "&"+env.Prefix+":*", "&__keyevent@*__:expired", "-@all")
	for _, c := range engine.Commands() {
		all = append(all, "+"+c)
	}
	set(all...)

	o, err := redis.ParseURL(env.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	o.Username, o.Password, o.MaxRetries, o.Protocol = "seller", "x", -1, 2
	client := redis.NewClient(o)
	defer func() { _ = client.Close() }()
	e, err := engine.New(engine.Config{Redis: client, Prefix: env.Prefix, Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	missing := func() []string {
		t.Helper()
		found, err := e.MissingRights(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if found := missing(); len(found) > 0 {
		t.Errorf("with all rights it lacks %q", found)
	}
	for _, c := range engine.Commands() {
		set("-" + c)
		found := missing()
		if len(found) != 1 || strings.Fields(found[0])[0] != c {
			t.Errorf("without %s it lacks %q", c, found)
		}
		set("+" + c)
	}
	for rule, want := range map[string]string{"resetkeys": "on keys " + env.Prefix + ":*", "resetchannels": "on channels " + env.Prefix + ":*"} {
		set(rule)
		if found := missing(); !slices.ContainsFunc(found, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("after %s it lacks %q", rule, found)
		}
		set(all...)
	}
	if keys, err := admin.Keys(t.Context(), "*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("left behind: %q, %v", keys, err)
	}
}

// TestReviewSettingsChangesNothing finds the same twice, what could be mended too.
func TestReviewSettingsChangesNothing(t *testing.T) {
	t.Parallel()
	env := harness.Own(t, harness.OwnOptions{RedisOnly: true, RedisArgs: []string{"--notify-keyspace-events", "", "--appendfsync", "everysec", "--hz", "10"}})
	e := startEngine(t, env.RedisURL, env.Prefix)
	for range 2 {
		found, err := e.ReviewSettings(t.Context())
		if err != nil || len(found) != 3 || found[0].Setting != "appendfsync" || !found[0].Breaks ||
			found[1].Setting != "notify-keyspace-events" || found[1].Breaks || found[2].Setting != "hz" || found[2].Breaks {
			t.Fatalf("%+v, %v", found, err)
		}
	}
}
