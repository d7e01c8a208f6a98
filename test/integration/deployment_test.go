package integration

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

// deployment is what the instances of one test share, and a look behind them.
type deployment struct {
	redisURL, databaseURL, prefix string
	extra                         []string // more of the instances' environment

	redis redis.UniversalClient
	db    *pgxpool.Pool
}

// newDeployment is a deployment on the test's part of the shared servers.
func newDeployment(t testing.TB) *deployment {
	t.Helper()
	return deploymentOn(t, harness.New(t))
}

func deploymentOn(t testing.TB, env *harness.Env) *deployment {
	t.Helper()
	db, err := pgxpool.New(t.Context(), env.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return &deployment{
		redisURL: env.RedisURL, databaseURL: env.DatabaseURL, prefix: env.Prefix,
		redis: env.Redis(), db: db,
	}
}

// partitions of every deployment of the tests: few, so that each instance
// starts quickly; but more than one, so that ids and keys are spread.
const partitions = 4

func (d *deployment) env() []string {
	return append([]string{
		"HOLDFAST_REDIS_URL=" + d.redisURL, "HOLDFAST_DATABASE_URL=" + d.databaseURL,
		"HOLDFAST_PREFIX=" + d.prefix, fmt.Sprintf("HOLDFAST_PARTITIONS=%d", partitions),
		"HOLDFAST_DATABASE_CONNS=5", // many instances share the Postgres of the tests
	}, d.extra...)
}

// serve starts an instance on a free port and waits until it is ready.
func (d *deployment) serve(t testing.TB, args ...string) *harness.Process {
	t.Helper()
	p := d.instance(t, args...)
	p.Start()
	p.Ready()
	return p
}

// instance is one that is not started yet.
func (d *deployment) instance(t testing.TB, args ...string) *harness.Process {
	t.Helper()
	port := harness.FreePort(t)
	p := command(t, d.env(), append([]string{"serve", "--host", "127.0.0.1", "--port", port}, args...)...)
	p.URL = "http://127.0.0.1:" + port
	return p
}

// run runs a command on the deployment to its end.
func (d *deployment) run(t testing.TB, args ...string) (printed string, status int) {
	t.Helper()
	return run(t, d.env(), args...)
}

// people adds n people and gives their ids.
func (d *deployment) people(t testing.TB, n int) []int64 {
	t.Helper()
	rows, err := d.db.Query(t.Context(),
		`INSERT INTO users (username, email) SELECT 'buyer'||i, 'buyer'||i||'@example.com'
		 FROM generate_series(1, $1::int) i RETURNING id`, n)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	ids := make([]int64, 0, n)
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return ids
}

// count is the result of a query that gives one number.
func (d *deployment) count(t testing.TB, sql string, args ...any) int64 {
	t.Helper()
	var n int64
	if err := d.db.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// want compares the result of a query that gives one number.
func (d *deployment) want(t testing.TB, want int, sql string, args ...any) {
	t.Helper()
	if got := d.count(t, sql, args...); got != int64(want) {
		t.Errorf("%s: %d, want %d", sql, got, want)
	}
}

// ids is the set that a query gives.
func (d *deployment) ids(t testing.TB, sql string, args ...any) map[int64]bool {
	t.Helper()
	rows, err := d.db.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	set := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		set[id] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return set
}

func (d *deployment) key(partition int, name string) string {
	return engine.KeyPrefix(d.prefix, partitions, partition) + name
}

func (d *deployment) dropKey(drop int64) string {
	return d.key(int(drop%partitions), fmt.Sprintf("drop:%d", drop))
}

// waiting is the number of ledger entries that are not in Postgres yet.
func (d *deployment) waiting(ctx context.Context) (n int64, err error) {
	for p := range partitions {
		length, err := d.redis.XLen(ctx, d.key(p, "ledger")).Result()
		if err != nil {
			return 0, err
		}
		n += length
	}
	return n, nil
}

// drained waits until the ledger is empty.
func (d *deployment) drained(t testing.TB, within time.Duration) {
	t.Helper()
	harness.Eventually(t, within, func() error {
		n, err := d.waiting(t.Context())
		if err == nil && n > 0 {
			err = fmt.Errorf("%d ledger entries wait", n)
		}
		return err
	})
}

// balanced waits until the ledger is empty and has audit agree.
func (d *deployment) balanced(t testing.TB) {
	t.Helper()
	d.drained(t, 30*time.Second)
	printed, status := d.run(t, "audit")
	if status != 0 || !strings.Contains(printed, "no difference") {
		t.Errorf("audit ends with %d:\n%s", status, printed)
	}
}

// ledger counts how often each record of the ledger is in it, by reservation
// (drop:seq) and how that ended.
func (d *deployment) ledger(t testing.TB) map[string]int {
	t.Helper()
	records := map[string]int{}
	for p := range partitions {
		entries, err := d.redis.XRange(t.Context(), d.key(p, "ledger"), "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			for _, record := range e.Values {
				f := strings.SplitN(record.(string), ":", 5) // ended:kind:drop:seq:…
				records[f[2]+":"+f[3]+" "+f[1]]++
			}
		}
	}
	return records
}
