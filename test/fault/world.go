package fault

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// topology is how Redis is run.
type topology string

const (
	single   topology = "single"
	sentinel topology = "sentinel"
	cluster  topology = "cluster"
)

// setup is what a world is made of.
type setup struct {
	topology  topology
	instances int
	binary    string
	fsync     string // Redis's appendfsync

	// skew is by how much Redis's clock is before that of everybody else. What
	// is recorded is in everybody else's.
	skew time.Duration
}

// partitions of the deployments: few, so that instances start quickly; but
// more than one, so that drops are spread, on a cluster over all masters.
const partitions = 6

// people is how many may buy in one world.
const people = 60

// world is one deployment with everything that stands between its parts.
type world struct {
	setup
	t testing.TB

	own      *harness.OwnEnv      // Postgres, and with one node Redis
	sentinel *harness.SentinelEnv // nil unless of that topology
	cluster  *harness.ClusterEnv  // nil unless of that topology
	network  *network

	// What every instance's connections go through, in this order: a wire of
	// its own, then the one that loses replies. Redis's is nil but on one node:
	// the others tell their clients addresses that nothing stands before.
	redisReplies, postgresReplies *harness.Proxy

	instances []*instance
	redis     redis.UniversalClient // straight
	db        *pgxpool.Pool         // straight
	users     []int64
}

// instance is one holdfast process and the wires to it and from it.
type instance struct {
	*harness.Process
	name string
	url  string // through the wire of the clients

	client, redis, postgres *wire // redis: nil but on one node
}

func postgresSettings() []string {
	return []string{
		"max_connections=40", "deadlock_timeout=200ms",
		"track_commit_timestamp=on", // see falseReports
	}
}

// newWorld starts a deployment, until the end of the test.
func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	w := &world{setup: s, t: t, network: newNetwork(t)}
	redisArgs := []string{"--appendfsync", s.fsync}
	w.own = harness.Own(t, harness.OwnOptions{RedisArgs: redisArgs, PostgresSettings: postgresSettings()})
	redisURL := w.own.RedisURL
	w.redis = w.own.Redis()
	switch s.topology {
	case sentinel:
		w.sentinel = harness.OwnSentinel(t, harness.SentinelOptions{RedisArgs: redisArgs})
		redisURL, w.redis = w.sentinel.RedisURL, w.sentinel.Redis()
	case cluster:
		w.cluster = harness.OwnCluster(t, harness.ClusterOptions{RedisArgs: redisArgs})
		redisURL, w.redis = w.cluster.RedisURL, w.cluster.Redis()
	case single:
		w.redisReplies = harness.NewProxy(t, redisURL)
	}
	w.postgresReplies = harness.NewProxy(t, w.own.DatabaseURL)
	var err error
	if w.db, err = pgxpool.New(t.Context(), w.own.DatabaseURL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.db.Close)
	w.people()
	for i := range s.instances {
		w.instances = append(w.instances, w.newInstance(i, redisURL))
	}
	for _, in := range w.instances {
		in.Start()
		// One by one: the first of a deployment says how many partitions it has.
		in.Ready()
	}
	return w
}

func (w *world) newInstance(i int, redisURL string) *instance {
	w.t.Helper()
	in := &instance{name: fmt.Sprintf("instance %d", i)}
	port := harness.FreePort(w.t)
	in.client = w.network.wire(fmt.Sprintf("clients to %s", in.name), "127.0.0.1:"+port)
	in.postgres = w.network.wire(in.name+" to Postgres", w.postgresReplies.Addr())
	if w.redisReplies != nil {
		in.redis = w.network.wire(in.name+" to Redis", w.redisReplies.Addr())
		redisURL = strings.Replace(w.redisReplies.URL(), w.redisReplies.Addr(), in.redis.addr(), 1)
	}
	env := []string{
		"HOLDFAST_REDIS_URL=" + redisURL,
		"HOLDFAST_DATABASE_URL=" + strings.Replace(w.postgresReplies.URL(), w.postgresReplies.Addr(), in.postgres.addr(), 1),
		"HOLDFAST_PREFIX=" + w.own.Prefix, fmt.Sprintf("HOLDFAST_PARTITIONS=%d", partitions),
		"HOLDFAST_DATABASE_CONNS=5", "HOLDFAST_TAKEOVER=2s",
	}
	in.Process = harness.NewProcess(w.t, w.binary, env, "serve", "--host", "127.0.0.1", "--port", port)
	in.URL = "http://127.0.0.1:" + port
	in.url = "http://" + in.client.addr()
	return in
}

// env is the environment of commands on the deployment, which no fault of the
// network reaches.
func (w *world) env() []string {
	url := w.own.RedisURL
	switch w.topology {
	case sentinel:
		url = w.sentinel.RedisURL
	case cluster:
		url = w.cluster.RedisURL
	case single:
	}
	return []string{
		"HOLDFAST_REDIS_URL=" + url, "HOLDFAST_DATABASE_URL=" + w.own.DatabaseURL,
		"HOLDFAST_PREFIX=" + w.own.Prefix, fmt.Sprintf("HOLDFAST_PARTITIONS=%d", partitions),
	}
}

// people adds those who buy.
func (w *world) people() {
	w.t.Helper()
	rows, err := w.db.Query(w.t.Context(),
		`INSERT INTO users (username) SELECT 'buyer'||i FROM generate_series(1, $1::int) i RETURNING id`, people)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			w.t.Fatal(err)
		}
		w.users = append(w.users, id)
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) key(partition int64, name string) string {
	return engine.KeyPrefix(w.own.Prefix, partitions, int(partition)) + name
}

func (w *world) dropKey(drop int64, name string) string {
	return w.key(drop%partitions, fmt.Sprintf("%s:%d", name, drop))
}

// healthy waits until every instance is ready. One that started while a store
// was away has ended, and is started again, as a supervisor does.
func (w *world) healthy(within time.Duration) {
	w.t.Helper()
	for _, in := range w.instances {
		harness.Eventually(w.t, within, func() error {
			if in.Ended() {
				log := in.Log()
				log = log[max(0, len(log)-3000):]
				if status := in.ExitCode(); status != 1 || strings.Contains(log, "panic: ") {
					w.t.Fatalf("%s ended by itself with %d:\n%s", in.name, status, log)
				}
				in.Again()
			}
			return in.Probe()
		})
	}
}

// drained waits until the ledger is empty.
func (w *world) drained(within time.Duration) {
	w.t.Helper()
	harness.Eventually(w.t, within, func() error {
		for p := range int64(partitions) {
			n, err := w.redis.XLen(w.t.Context(), w.key(p, "ledger")).Result()
			if err != nil {
				return err
			}
			if n > 0 {
				return fmt.Errorf("%d entries wait in the ledger of partition %d", n, p)
			}
		}
		return nil
	})
}

// fates are how the holds of a drop ended: from Postgres, and from Redis of
// those that are live.
func (w *world) fates(drop int64) (map[int64]fate, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	out := map[int64]fate{}
	members, err := w.redis.ZRange(ctx, w.key(drop%partitions, "deadlines"), 0, -1).Result()
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		k, of, err := parseMember(m)
		if err != nil {
			return nil, err
		}
		if of == drop {
			out[k.ID] = w.inOurTime(fate{User: k.User, Size: k.Size, Status: "active", Created: k.Created, Deadline: k.Deadline})
		}
	}
	rows, err := w.db.Query(ctx,
		`SELECT id, user_id, size, status, (extract(epoch FROM created_at)*1000)::bigint,
		        (extract(epoch FROM deadline)*1000)::bigint, (extract(epoch FROM ended_at)*1000)::bigint
		 FROM reservations WHERE drop_id = $1`, drop)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var f fate
		if err := rows.Scan(&id, &f.User, &f.Size, &f.Status, &f.Created, &f.Deadline, &f.Ended); err != nil {
			return nil, err
		}
		out[id] = w.inOurTime(f)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	keys, err := w.redis.HGetAll(ctx, w.dropKey(drop, "idem")).Result()
	for key, m := range keys {
		k, _, err := parseMember(m)
		if err != nil {
			return nil, err
		}
		if f, ok := out[k.ID]; ok {
			f.Key = key
			out[k.ID] = f
		}
	}
	return out, err
}

func (w *world) inOurTime(f fate) fate {
	skew := w.skew.Milliseconds()
	if f.Created, f.Deadline = f.Created-skew, f.Deadline-skew; f.Ended != 0 {
		f.Ended -= skew
	}
	return f
}
