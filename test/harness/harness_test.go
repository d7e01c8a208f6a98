package harness

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	Main(m, Options{
		CheckLeaks: true,
		Migrate: func(ctx context.Context, url string) error {
			return execSQL(ctx, url, "CREATE TABLE things (name text PRIMARY KEY)")
		},
	})
}

// names are the rows of the migrated table.
func names(t *testing.T, url string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var all string
	if err := conn.QueryRow(t.Context(), "SELECT coalesce(string_agg(name, ','), '') FROM things").Scan(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTestsDoNotSeeEachOther(t *testing.T) {
	var ended []*Env
	t.Run("parallel", func(t *testing.T) {
		for i := range 4 {
			env := New(t)
			ended = append(ended, env)
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				name := fmt.Sprint("n", i)
				if err := execSQL(t.Context(), env.DatabaseURL, "INSERT INTO things VALUES ('"+name+"')"); err != nil {
					t.Fatal(err)
				}
				if got := names(t, env.DatabaseURL); got != name {
					t.Errorf("the database holds %q, want %q", got, name)
				}
				client := env.Redis()
				for k := range 1500 {
					if err := client.Set(t.Context(), fmt.Sprintf("%s:%d", env.Prefix, k), i, 0).Err(); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	})
	env := New(t)
	for _, e := range ended {
		keys, err := env.Redis().Keys(t.Context(), e.Prefix+"*").Result()
		if err != nil || len(keys) != 0 {
			t.Errorf("%d keys of %s are left, %v", len(keys), e.Prefix, err)
		}
		if conn, err := pgx.Connect(t.Context(), e.DatabaseURL); err == nil {
			t.Errorf("database %s is left", e.DatabaseURL)
			_ = conn.Close(t.Context())
		}
	}
}

func TestWithoutMigrateThereIsNoPostgres(t *testing.T) {
	b := &binary{id: "none"}
	if err := b.start(); err != nil {
		t.Fatal(err)
	}
	if b.servers.redisURL == "" || b.servers.databaseURL != "" || b.template != "" {
		t.Errorf("got redis %q, database %q, template %q", b.servers.redisURL, b.servers.databaseURL, b.template)
	}
	if err := b.stop(); err != nil {
		t.Error(err)
	}
}

func TestAFailedMigrationIsTold(t *testing.T) {
	broken := errors.New("broken")
	b := &binary{id: "broken", options: Options{Migrate: func(context.Context, string) error { return broken }}}
	if err := b.start(); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if err := b.stop(); err != nil {
		t.Error(err)
	}
}

func TestOwnServersRestart(t *testing.T) {
	// Registered first, so that it looks after the servers have ended.
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	env := Own(t, OwnOptions{RedisArgs: []string{"--maxmemory", "64mb"}})
	client := env.Redis()
	if err := client.Set(t.Context(), "k", "kept", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := execSQL(t.Context(), env.DatabaseURL, "INSERT INTO things VALUES ('kept')"); err != nil {
		t.Fatal(err)
	}
	for _, end := range []func(){env.KillRedis, env.StopRedis} {
		end()
		if err := client.Ping(t.Context()).Err(); err == nil {
			t.Error("a stopped redis answers")
		}
		env.StartRedis()
		Eventually(t, 5*time.Second, func() error {
			got, err := client.Get(t.Context(), "k").Result()
			if err == nil && got != "kept" {
				err = fmt.Errorf("redis holds %q", got)
			}
			return err
		})
	}
	for _, end := range []func(){env.KillPostgres, env.StopPostgres} {
		end()
		if err := execSQL(t.Context(), env.DatabaseURL, "SELECT 1"); err == nil {
			t.Error("a stopped postgres answers")
		}
		env.StartPostgres()
		if got := names(t, env.DatabaseURL); got != "kept" {
			t.Errorf("postgres holds %q", got)
		}
	}
	if got := client.ConfigGet(t.Context(), "maxmemory").Val()["maxmemory"]; got != "67108864" {
		t.Errorf("maxmemory is %s", got)
	}
}

// recorder is a test that Eventually may fail.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) { r.failure = fmt.Sprintf(format, args...) }

func TestEventually(t *testing.T) {
	calls := 0
	Eventually(t, time.Second, func() error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if calls != 3 {
		t.Errorf("polled %d times, want 3", calls)
	}
	r := &recorder{TB: t}
	Eventually(r, 30*time.Millisecond, func() error { return errors.New("never so") })
	if !strings.Contains(r.failure, "never so") {
		t.Errorf("failed with %q, want the last error", r.failure)
	}
}
