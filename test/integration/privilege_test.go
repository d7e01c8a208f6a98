package integration

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

// leastPrivilege gives the one block of that language in the section of
// OPERATIONS.md.
func leastPrivilege(t *testing.T, language string) string {
	t.Helper()
	manual, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(manual), "\n## Least privilege\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 1 {
		t.Fatalf("%d blocks of %s in the manual's section", len(blocks), language)
	}
	return blocks[0][1]
}

// leastPrivileged applies what the manual says to servers of the test's own, and
// gives the deployment of those two users.
func leastPrivileged(t *testing.T) (d *deployment, rules []string) {
	t.Helper()
	own := harness.Own(t, harness.OwnOptions{RedisArgs: []string{"--maxmemory", "256mb"}})
	d = deploymentOn(t, &own.Env)
	d.prefix = "hf" // as in the manual
	rules = strings.Fields(leastPrivilege(t, "redis"))
	command := make([]any, len(rules))
	for i, r := range rules {
		command[i] = r
	}
	if err := d.redis.Do(t.Context(), command...).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.db.Exec(t.Context(), leastPrivilege(t, "sql")); err != nil {
		t.Fatal(err)
	}
	for _, at := range []struct {
		url  *string
		user string
	}{{&d.redisURL, "holdfast"}, {&d.databaseURL, "holdfast_app"}} {
		u, err := url.Parse(*at.url)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(at.user, "choose-a-password")
		*at.url = u.String()
	}
	return d, rules
}

// TestLeastPrivilege runs a sale and all that comes after it under the users of the
// manual.
func TestLeastPrivilege(t *testing.T) { //nolint:tparallel // the subtests come after the sale, on its servers
	t.Parallel()
	d, rules := leastPrivileged(t)

	printed, status := d.run(t, "doctor", "--json")
	var report struct {
		Findings           []struct{ Check, State, Says string }
		Warnings, Failures int
	}
	if err := json.Unmarshal([]byte(printed), &report); err != nil || status != 0 || report.Failures+report.Warnings > 0 || len(report.Findings) < 10 {
		t.Errorf("doctor ended with %d, %v:\n%s", status, err, printed)
	}

	p := d.serve(t)
	s := newShop(t, p)
	if printed, status := d.run(t, "seed"); status != 0 {
		t.Errorf("seed ended with %d:\n%s", status, printed)
	}
	people := d.people(t, 4)
	id := s.open(10, object{"limit_per_customer": 3, "sizes": []object{{"size": "42", "stock": 10}}, "hold_seconds": 300})
	short := s.open(3, object{"hold_seconds": 0.5})
	var guest reservation
	guest, a := s.reserve(object{"dropId": id, "userName": "ada", "email": "ada@example.com", "size": "42"}, "Idempotency-Key", "k")
	if a.status != 201 {
		t.Fatalf("reserve of a guest: %v", a)
	}
	bought := s.mustBuy(guest.ID)
	held := s.mustReserve(object{"dropId": id, "userId": people[0], "size": "42"})
	if a := s.call("POST", "/api/drops/cancel", object{"reservationId": s.mustReserve(object{"dropId": id, "userId": people[1], "size": "42"}).ID}, nil); a.status != 200 {
		t.Errorf("cancel: %v", a)
	}
	s.mustReserve(object{"dropId": short, "userId": people[2]})
	harness.Eventually(t, 20*time.Second, func() error { return s.stockIs(short, 3, 0, 0) })
	d.balanced(t)
	if printed, status := d.run(t, "release", id10(s.mustReserve(object{"dropId": id, "userId": people[3], "size": "42"}).ID)); status != 0 {
		t.Errorf("release ended with %d:\n%s", status, printed)
	}
	if printed, status := d.run(t, "holds"); status != 0 || !strings.Contains(printed, id10(held.ID)) {
		t.Errorf("holds ended with %d:\n%s", status, printed)
	}

	// Redis is emptied: instances and the command bring everything back.
	d.drained(t, 30*time.Second)
	if err := d.redis.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 30*time.Second, func() error {
		if again, a := s.purchase(bought.Purchase.ID); a.status != 200 || !sameReceipt(again, bought) {
			return fmt.Errorf("repeated purchase: %v", a)
		}
		return nil
	})
	if printed, status := d.run(t, "rebuild"); status != 0 {
		t.Errorf("rebuild ended with %d:\n%s", status, printed)
	}
	s.mustBuy(s.mustReserve(object{"dropId": id, "userId": people[0], "size": "42"}).ID)
	d.drained(t, 30*time.Second)
	if printed, status := d.run(t, "audit"); status != 0 {
		t.Errorf("audit ended with %d:\n%s", status, printed)
	}
	if log := p.Log(); strings.Contains(log, "NOPERM") || strings.Contains(log, "permission denied") {
		t.Errorf("something was not permitted:\n%s", log)
	}
	if denied, err := d.redis.Do(t.Context(), "ACL", "LOG").Slice(); err != nil || len(denied) > 0 {
		// The library names itself at each connection, and needs no right to.
		for _, entry := range denied {
			if text := fmt.Sprint(entry); !strings.Contains(text, "client|") && !strings.Contains(text, "hello") {
				t.Errorf("Redis refused: %s", text)
			}
		}
	}

	t.Run("Redis's user may no more", func(t *testing.T) { redisAllowsNoMore(t, d, rules) })
	t.Run("Postgres's role may no more", func(t *testing.T) { postgresAllowsNoMore(t, d) })
}

func redisAllowsNoMore(t *testing.T, d *deployment, rules []string) {
	t.Helper()
	var commands []string
	for _, r := range rules {
		if c, ok := strings.CutPrefix(r, "+"); ok {
			commands = append(commands, c)
		}
	}
	slices.Sort(commands)
	if want := engine.Commands(); !slices.Equal(commands, want) {
		t.Errorf("the manual allows\n%q, and what is used is\n%q", commands, want)
	}
	o, err := redis.ParseURL(d.redisURL)
	if err != nil {
		t.Fatal(err)
	}
	user := redis.NewClient(o)
	defer func() { _ = user.Close() }()
	for _, command := range [][]any{
		{"FLUSHALL"}, {"FLUSHDB"}, {"KEYS", "*"}, {"SCAN", 0}, {"CONFIG", "SET", "maxmemory", "1"}, {"SHUTDOWN", "NOSAVE"}, {"ACL", "LIST"},
		{"REPLICAOF", "127.0.0.1", "1"}, {"SCRIPT", "FLUSH"}, {"MONITOR"}, {"CLIENT", "KILL", "TYPE", "normal"},
		{"GET", "other:key"}, {"DEL", "other:key"}, {"PUBLISH", "other", "x"}, {"EVAL", "#!lua\nreturn redis.call('GET', KEYS[1])", 1, "other:key"},
	} {
		if err := user.Do(t.Context(), command...).Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("%v: %v", command, err)
		}
	}
}

func postgresAllowsNoMore(t *testing.T, d *deployment) {
	t.Helper()
	rows, err := d.db.Query(t.Context(), `SELECT table_name || ' ' || privilege_type FROM information_schema.role_table_grants WHERE grantee = 'holdfast_app' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	granted, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, r := range persist.Rights() {
		for _, p := range r.Privileges {
			want = append(want, r.Table+" "+p)
		}
	}
	slices.Sort(granted)
	slices.Sort(want)
	if !slices.Equal(granted, want) {
		t.Errorf("the manual grants\n%q, and what is used is\n%q", granted, want)
	}
	role, err := pgxpool.New(t.Context(), d.databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer role.Close()
	for _, sql := range []string{
		"DROP TABLE purchases", "TRUNCATE purchases", "DELETE FROM purchases", "UPDATE purchases SET user_id = 1", "UPDATE users SET username = 'x'",
		"DELETE FROM reservations", "DELETE FROM lost_work", "ALTER TABLE drops ADD COLUMN x int", "CREATE TABLE x ()", "CREATE TEMP TABLE x ()",
		"CREATE ROLE x", "DROP FUNCTION require_epoch", "UPDATE goose_db_version SET version_id = 0",
	} {
		if _, err := role.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}
