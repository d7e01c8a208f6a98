package integration

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// emptyDatabase is a deployment on a database without a schema.
func (d *deployment) emptyDatabase(t testing.TB) *deployment {
	t.Helper()
	empty := *d
	at, err := url.Parse(d.databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	name := "empty_" + d.prefix
	at.Path = "/" + name
	empty.databaseURL = at.String()
	if _, err := d.db.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := d.db.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return &empty
}

func TestMigrateAndSeedMayBeRepeated(t *testing.T) {
	t.Parallel()
	d := newDeployment(t).emptyDatabase(t)
	printed, status := d.run(t, "serve", "--port", harness.FreePort(t))
	if status != 1 {
		t.Errorf("serve without a schema ended with %d", status)
	}
	contains(t, printed, "holdfast migrate")
	for range 2 {
		if printed, status := d.run(t, "migrate"); status != 0 {
			t.Fatalf("migrate ended with %d:\n%s", status, printed)
		}
	}
	printed, status = d.run(t, "seed")
	if status != 0 {
		t.Fatalf("seed ended with %d:\n%s", status, printed)
	}
	contains(t, printed, "Sample drop 1", "Sample drop 2", "Sample drop 3", "100 people added, 0 were there")
	printed, status = d.run(t, "seed")
	if status != 0 || strings.Contains(printed, "Sample drop") {
		t.Errorf("the second seed ended with %d:\n%s", status, printed)
	}
	contains(t, printed, "0 people added, 100 were there")
	printed, status = d.run(t, "seed", "--users", "5000")
	if status != 0 {
		t.Errorf("seed ended with %d", status)
	}
	contains(t, printed, "4900 people added, 100 were there")

	s := newShop(t, d.serve(t, "--migrate"))
	var drops []drop
	if a := s.call("GET", "/api/drops", nil, &drops); a.err != nil || len(drops) != 3 {
		t.Errorf("drops after seeding: %v", a)
	}
	if r := s.mustReserve(object{"dropId": 1, "userId": 5000}); r.UserID != 5000 {
		t.Errorf("a hold of user 5000: %+v", r)
	}
	d.balanced(t)
}

func TestAuditFindsDifferences(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	s := newShop(t, d.serve(t))
	person := d.people(t, 1)[0]
	id := s.open(5, nil)
	sized := s.open(5, object{"sizes": []object{{"size": "42", "stock": 2}, {"size": "43", "stock": 3}}})
	s.mustBuy(s.mustReserve(object{"dropId": id, "userId": person, "size": "any"}).ID)
	s.mustReserve(object{"dropId": id, "userId": person})
	s.mustBuy(s.mustReserve(object{"dropId": sized, "userId": person, "size": "43"}).ID)
	d.balanced(t)

	for _, c := range []struct {
		drop    int64
		changes map[string]int64
		says    string
	}{
		{id, map[string]int64{"a:": 1}, "available + held + sold is not total"},
		{id, map[string]int64{"a:": -1, "h:": 1}, "held is not the number of live holds"},
		{sized, map[string]int64{"a:43": 1, "s:43": -1}, "sold in Redis is not purchases + pending"},
		{sized, map[string]int64{"a:42": 1, "t:42": 1}, "totals differ"},
	} {
		change := func(sign int64) {
			for field, by := range c.changes {
				if err := d.redis.HIncrBy(t.Context(), d.dropKey(c.drop), field, sign*by).Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
		change(1)
		printed, status := d.run(t, "audit")
		if status != 1 {
			t.Errorf("audit ended with %d", status)
		}
		contains(t, printed, c.says, "1 of 3 lines differ")
		change(-1)
	}
	if err := d.redis.Del(t.Context(), d.dropKey(sized)).Err(); err != nil {
		t.Fatal(err)
	}
	printed, status := d.run(t, "audit")
	if status != 1 {
		t.Errorf("audit ended with %d", status)
	}
	contains(t, printed, "not in Redis", "2 of 3 lines differ")
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	printed, status := run(t, nil, "version")
	if status != 0 || !strings.HasPrefix(printed, "holdfast ") || len(strings.Fields(printed)) != 2 {
		t.Errorf("version ended with %d: %q", status, printed)
	}
	commands := []string{"dev", "serve", "migrate", "seed", "audit", "rebuild", "holds", "release", "webhooks", "loadtest", "version"}
	printed, status = run(t, nil, "--help")
	if status != 0 {
		t.Errorf("--help ended with %d", status)
	}
	contains(t, printed, commands...)
	says := map[string][]string{
		"dev":      {"--port", "$PORT", "--data", "Ctrl-C"},
		"serve":    {"--roles", "--port", "$PORT", "--redis-url", "$HOLDFAST_REDIS_URL", "--database-url", "SIGTERM"},
		"migrate":  {"--database-url", "any number of processes"},
		"seed":     {"--users", "three sample drops"},
		"audit":    {"--redis-url", "--database-url", "Exit status"},
		"rebuild":  {"--drop", "safe direction"},
		"holds":    {"--overdue", "--json"},
		"release":  {"--overdue", "Cancels live holds"},
		"webhooks": {"--resend", "--resend-dead", "given up"},
		"loadtest": {"--scenario", "$HOLDFAST_LOADTEST_URL", "--watchers", "coordinated omission", "Exit status"},
		"version":  {"Print the version"},
	}
	for _, c := range commands {
		printed, status := run(t, nil, c, "--help")
		if status != 0 {
			t.Errorf("%s --help ended with %d", c, status)
		}
		contains(t, printed, append(says[c], "Usage: holdfast "+c)...)
	}
	for _, wrong := range [][]string{{}, {"dance"}, {"serve", "--dance"}, {"serve", "--port", "x"}} {
		if printed, status := run(t, nil, wrong...); status == 0 || printed == "" {
			t.Errorf("%q ended with %d:\n%s", wrong, status, printed)
		}
	}
	for _, c := range []string{"serve", "migrate", "seed", "audit", "rebuild", "holds", "release", "webhooks"} {
		printed, status := run(t, nil, c)
		if status != 1 {
			t.Errorf("%s without a database ended with %d", c, status)
		}
		contains(t, printed, "HOLDFAST_DATABASE_URL")
	}
}

// TestStoresThatAreAway has commands meet addresses where nobody answers.
func TestStoresThatAreAway(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	port := harness.FreePort(t)
	away := *d
	away.redisURL = "redis://127.0.0.1:" + port + "/0"
	for _, c := range []string{"serve", "audit", "seed"} {
		printed, status := away.run(t, c)
		if status != 1 {
			t.Errorf("%s without Redis ended with %d", c, status)
		}
		contains(t, printed, "Redis", port)
	}
	away = *d
	away.databaseURL = "postgres://holdfast@127.0.0.1:" + port + "/holdfast"
	for _, c := range []string{"migrate", "audit", "seed"} {
		printed, status := away.run(t, c)
		if status != 1 {
			t.Errorf("%s without Postgres ended with %d", c, status)
		}
		contains(t, printed, "postgres", port)
	}

	// Without Postgres an instance starts, to sell what Redis has.
	s := newShop(t, d.serve(t))
	people := d.people(t, 1)
	id := s.open(1, nil)
	var ready struct{ Status string }
	degraded := newShop(t, away.serve(t, "--roles", "api"))
	if a := degraded.call("GET", "/readyz", nil, &ready); a.status != http.StatusOK || ready.Status != "degraded" {
		t.Errorf("readyz: %v", a)
	}
	held := s.mustReserve(object{"dropId": id, "userId": people[0]})
	degraded.mustBuy(held.ID)
	if _, a := degraded.reserve(object{"dropId": id, "userId": people[0]}); !a.refusedForNow() {
		t.Errorf("a person whom it cannot know: %v", a)
	}
	d.balanced(t)
}
