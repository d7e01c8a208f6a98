package doctor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/cmd/doctor"
	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m, harness.Options{Migrate: persist.Migrate}) }

// patient is a deployment to be looked at.
type patient struct {
	redisURL, databaseURL, prefix string
	partitions, conns             int
	skew                          time.Duration
}

func patientOn(env *harness.Env) patient {
	return patient{redisURL: env.RedisURL, databaseURL: env.DatabaseURL, prefix: env.Prefix, partitions: 4, conns: 4}
}

func (p patient) examine(t *testing.T) *doctor.Report {
	t.Helper()
	client, err := engine.NewClient(engine.ClientConfig{URL: p.redisURL})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	e, err := engine.New(engine.Config{Redis: client, Prefix: p.prefix, Partitions: p.partitions})
	if err != nil {
		t.Fatal(err)
	}
	store, err := persist.Open(persist.Config{URL: p.databaseURL, MaxConns: p.conns})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	d, err := doctor.New(doctor.Config{Engine: e, Store: store, Skew: p.skew})
	if err != nil {
		t.Fatal(err)
	}
	return d.Examine(t.Context())
}

// finds has the report have exactly one finding of the state for the check that
// says all of the words, in what it found or how that is mended.
func finds(t *testing.T, r *doctor.Report, state doctor.State, check string, words ...string) {
	t.Helper()
	n := 0
	for _, f := range r.Findings {
		if f.Check != check || f.State != state {
			continue
		}
		whole := true
		for _, w := range words {
			whole = whole && strings.Contains(f.Says+" "+f.Mend, w)
		}
		if whole {
			n++
		}
		if (f.Mend == "") != (state == doctor.OK) {
			t.Errorf("%+v", f)
		}
	}
	if n != 1 {
		t.Errorf("%d findings %s %s with %q in\n%s", n, state, check, words, printed(t, r))
	}
}

func printed(t *testing.T, r *doctor.Report) string {
	t.Helper()
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func exec(t *testing.T, at, statements string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), statements); err != nil {
		t.Fatal(err)
	}
}

func config(t *testing.T, c redis.Cmdable, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if err := c.ConfigSet(t.Context(), pairs[i], pairs[i+1]).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWell(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	r := patientOn(env).examine(t)
	if r.Count(doctor.Fail) > 0 {
		t.Errorf("failures:\n%s", printed(t, r))
	}
	for check, word := range map[string]string{
		"redis rights": "all", "redis version": "redis", "redis settings": "keep", "redis clock": "agrees", "redis partitions": "first start will record 4",
		"postgres version": "it is", "postgres schema": "as this version needs", "postgres connections": "4 of", "postgres clock": "agrees",
	} {
		finds(t, r, doctor.OK, check, word)
	}
	finds(t, r, doctor.Warn, "redis memory", "no maxmemory")
	finds(t, r, doctor.Warn, "postgres rights", "superuser")
	if text := printed(t, r); !strings.Contains(text, "It will do; 2 to look at.") {
		t.Error(text)
	}
	var out bytes.Buffer
	if err := r.JSON(&out); err != nil {
		t.Fatal(err)
	}
	var read struct {
		Findings           []doctor.Finding
		Warnings, Failures int
	}
	if err := json.Unmarshal(out.Bytes(), &read); err != nil || len(read.Findings) != len(r.Findings) || read.Warnings != 2 || read.Failures != 0 {
		t.Errorf("%+v, %v", read, err)
	}
	if keys, err := env.Redis().Keys(t.Context(), env.Prefix+":*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("left in Redis: %q, %v", keys, err)
	}
}

// TestFaultsOfRedis stages one after the other.
func TestFaultsOfRedis(t *testing.T) {
	t.Parallel()
	own := harness.Own(t, harness.OwnOptions{})
	admin := own.Redis()
	p := patientOn(&own.Env)

	config(t, admin, "appendonly", "no", "appendfsync", "everysec", "maxmemory-policy", "allkeys-lru", "notify-keyspace-events", "", "maxmemory", "64mb", "hz", "10", "active-expire-effort", "1")
	r := p.examine(t)
	for _, setting := range []string{"appendonly", "appendfsync", "maxmemory-policy"} {
		finds(t, r, doctor.Fail, "redis settings", "Redis has "+setting+" ", "CONFIG SET "+setting)
	}
	for _, setting := range []string{"notify-keyspace-events", "hz", "active-expire-effort"} {
		finds(t, r, doctor.Warn, "redis settings", "Redis has "+setting+" ", "CONFIG SET "+setting)
	}
	finds(t, r, doctor.OK, "redis memory", "64 MiB")
	if got := admin.ConfigGet(t.Context(), "notify-keyspace-events").Val()["notify-keyspace-events"]; got != "" {
		t.Errorf("the doctor set notifications to %q", got)
	}
	config(t, admin, "appendonly", "yes", "appendfsync", "always", "maxmemory-policy", "noeviction", "notify-keyspace-events", "Ex", "hz", "100", "active-expire-effort", "10")

	config(t, admin, "min-replicas-to-write", "1")
	finds(t, p.examine(t), doctor.Fail, "redis rights", "NOREPLICAS", "min-replicas-to-write")
	config(t, admin, "min-replicas-to-write", "0")

	if err := admin.Set(t.Context(), own.Prefix+":partitions", "16", 0).Err(); err != nil {
		t.Fatal(err)
	}
	finds(t, p.examine(t), doctor.Fail, "redis partitions", "4 are configured", "HOLDFAST_PARTITIONS=16")
	if err := admin.Set(t.Context(), own.Prefix+":partitions", "4", 0).Err(); err != nil {
		t.Fatal(err)
	}
	finds(t, p.examine(t), doctor.OK, "redis partitions", "4, as recorded")

	for _, denied := range []struct{ rule, says string }{
		{"-xautoclaim", "may not: xautoclaim"}, {"-time", "may not: time"}, {"resetchannels", "psubscribe to __keyevent@*__:expired"},
	} {
		if err := admin.Do(t.Context(), "ACL", "SETUSER", "some", "reset", "on", ">secret", "~*", "&*", "+@all", denied.rule).Err(); err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(own.RedisURL)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword("some", "secret")
		other := p
		other.redisURL = u.String()
		finds(t, other.examine(t), doctor.Fail, "redis rights", denied.says, "ACL SETUSER")
	}

	own.StopRedis()
	finds(t, p.examine(t), doctor.Fail, "redis", "no answer", "HOLDFAST_REDIS_URL")
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	s := harness.OwnSentinel(t, harness.SentinelOptions{})
	p := patientOn(env)
	p.redisURL, p.prefix = s.RedisURL, s.Prefix
	s.AwaitReplicas()
	r := p.examine(t)
	if r.Count(doctor.Fail) > 0 {
		t.Errorf("failures:\n%s", printed(t, r))
	}
	config(t, s.Primary().Redis(), "min-replicas-to-write", "0")
	finds(t, p.examine(t), doctor.Warn, "redis settings", "2 replicas", "CONFIG SET min-replicas-to-write")
	for _, n := range s.Nodes {
		if n != s.Primary() {
			p.redisURL = "redis://" + n.Addr() + "/0"
		}
	}
	finds(t, p.examine(t), doctor.Fail, "redis role", "is a replica", "redis-sentinel://")
}

func TestCluster(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	c := harness.OwnCluster(t, harness.ClusterOptions{})
	for _, n := range c.Nodes { // on each, as users are not replicated
		rules := make([]any, 0, 64)
		rules = append(rules, "ACL", "SETUSER", "seller", "on", ">secret", "~"+c.Prefix+":*", "&"+c.Prefix+":*", "&__keyevent@*__:expired", "-@all", "+cluster|slots", "+command")
		for _, name := range engine.Commands() {
			rules = append(rules, "+"+name)
		}
		if err := n.Redis().Do(t.Context(), rules...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	p := patientOn(env)
	p.redisURL, p.prefix = strings.Replace(c.RedisURL, "://", "://seller:secret@", 1), c.Prefix
	r := p.examine(t)
	if r.Count(doctor.Fail) > 0 {
		t.Errorf("failures:\n%s", printed(t, r))
	}
	finds(t, r, doctor.OK, "redis cluster", "by 3 masters")
	finds(t, r, doctor.OK, "redis rights", "all")

	const lost = 16383
	config(t, c.Nodes[0].Redis(), "cluster-require-full-coverage", "no")
	for _, n := range c.Nodes {
		config(t, n.Redis(), "cluster-require-full-coverage", "no")
	}
	for _, n := range c.Nodes { // a slot that each forgets
		if err := n.Redis().ClusterDelSlots(t.Context(), lost).Err(); err != nil && !strings.Contains(err.Error(), "unassigned") {
			t.Fatal(err)
		}
	}
	harness.Eventually(t, 10*time.Second, func() error {
		if text := printed(t, p.examine(t)); !strings.Contains(text, "1 of its 16384 slots are served by nobody") {
			return fmt.Errorf("not found:\n%s", text)
		}
		return nil
	})
}

func TestFaultsOfPostgres(t *testing.T) {
	t.Parallel()
	own := harness.Own(t, harness.OwnOptions{PostgresSettings: []string{"max_connections=30"}})
	p := patientOn(&own.Env)
	exec(t, own.DatabaseURL, "CREATE ROLE seller LOGIN")
	exec(t, own.DatabaseURL, "CREATE DATABASE empty")
	for _, r := range persist.Rights() {
		exec(t, own.DatabaseURL, "GRANT "+strings.Join(r.Privileges, ", ")+" ON "+r.Table+" TO seller")
	}
	u, err := url.Parse(own.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("seller")
	p.databaseURL = u.String()
	finds(t, p.examine(t), doctor.OK, "postgres rights", "seller")

	for _, r := range persist.Rights() {
		for _, right := range r.Privileges {
			exec(t, own.DatabaseURL, "REVOKE "+right+" ON "+r.Table+" FROM seller")
			finds(t, p.examine(t), doctor.Fail, "postgres rights", right+" on "+r.Table, "GRANT")
			exec(t, own.DatabaseURL, "GRANT "+right+" ON "+r.Table+" TO seller")
		}
	}

	exec(t, own.DatabaseURL, "ALTER TABLE purchases OWNER TO seller")
	finds(t, p.examine(t), doctor.Warn, "postgres rights", "owns the tables")

	exec(t, own.DatabaseURL, "DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)")
	finds(t, p.examine(t), doctor.Fail, "postgres schema", "holdfast migrate")
	exec(t, own.DatabaseURL, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)")
	finds(t, p.examine(t), doctor.Warn, "postgres schema", "99999")
	exec(t, own.DatabaseURL, "REVOKE SELECT ON goose_db_version FROM seller")
	finds(t, p.examine(t), doctor.Warn, "postgres schema", "cannot be read")

	exec(t, own.DatabaseURL, "ALTER ROLE seller SET default_transaction_read_only = on")
	finds(t, p.examine(t), doctor.Fail, "postgres role", "takes no writes")

	many := p
	many.conns = 20
	finds(t, many.examine(t), doctor.Warn, "postgres connections", "20 of 30", "max_connections")

	empty := p
	u.Path = "/empty"
	empty.databaseURL = u.String()
	finds(t, empty.examine(t), doctor.Fail, "postgres schema", "at migration 0", "holdfast migrate")

	own.StopPostgres()
	finds(t, p.examine(t), doctor.Fail, "postgres", "no answer", "HOLDFAST_DATABASE_URL")
}

func TestClocks(t *testing.T) {
	t.Parallel()
	p := patientOn(harness.New(t))
	for skew, want := range map[time.Duration]doctor.State{
		-time.Minute: doctor.Fail, time.Minute: doctor.Fail, 3 * time.Second: doctor.Warn, -3 * time.Second: doctor.Warn,
	} {
		p.skew = skew
		r := p.examine(t)
		finds(t, r, want, "redis clock", "away", "NTP")
		finds(t, r, want, "postgres clock", "away", "NTP")
	}
}
