package harness

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// Options of a package's tests.
type Options struct {
	// Migrate brings the empty database at url to the current schema.
	// Defaults to no Postgres being started.
	Migrate func(ctx context.Context, url string) error

	// RedisArgs are further arguments of the shared redis-server, where that
	// is started here. Defaults to none.
	RedisArgs []string

	// CheckLeaks fails the run when goroutines are left after the last test
	// and the end of the servers. Defaults to false.
	CheckLeaks bool

	// IgnoreLeaks excuses goroutines from CheckLeaks. Defaults to none.
	IgnoreLeaks []goleak.Option

	// After is called after the last test and the end of the servers: what
	// TestMain made is removed there, since Main does not return. Defaults to
	// nothing.
	After func() error
}

// binary is what the tests of one test binary share.
type binary struct {
	options Options
	id      string // tells the binary from others on the same servers
	tests   atomic.Int64

	once     sync.Once
	servers  *servers
	template string // migrated database, copied for each test
	err      error
}

// current is the binary's: testing has no place of its own to hand it from
// TestMain to the tests.
var current atomic.Pointer[binary]

// Main runs the tests of a package and exits, as TestMain should. The servers
// are started when a test first asks for them and stopped after the last.
func Main(m *testing.M, o Options) { os.Exit(run(m, o)) }

func run(m *testing.M, o Options) (code int) {
	id := make([]byte, 3)
	_, _ = rand.Read(id) // never fails
	b := &binary{options: o, id: hex.EncodeToString(id)}
	current.Store(b)
	code = m.Run()
	if err := b.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		code = max(code, 1)
	}
	if o.After != nil {
		if err := o.After(); err != nil {
			fmt.Fprintln(os.Stderr, "harness:", err)
			code = max(code, 1)
		}
	}
	if o.CheckLeaks && code == 0 {
		// Testcontainers keeps a line to its reaper for the life of the process.
		reaper := goleak.IgnoreAnyFunction("github.com/testcontainers/testcontainers-go.(*Reaper).connect.func1")
		if err := goleak.Find(append([]goleak.Option{reaper}, o.IgnoreLeaks...)...); err != nil {
			fmt.Fprintln(os.Stderr, "harness:", err)
			code = 1
		}
	}
	return code
}

func (b *binary) start() error {
	b.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		l := launch{postgres: b.options.Migrate != nil, redisArgs: b.options.RedisArgs}
		if b.servers, b.err = l.start(ctx, false); b.err != nil || !l.postgres {
			return
		}
		template := "holdfast_template_" + b.id
		if b.err = execSQL(ctx, b.servers.databaseURL, "CREATE DATABASE "+template); b.err != nil {
			return
		}
		b.template = template
		var at string
		if at, b.err = withDatabase(b.servers.databaseURL, template); b.err != nil {
			return
		}
		if b.err = b.options.Migrate(ctx, at); b.err != nil {
			b.err = fmt.Errorf("migrate: %w", b.err)
		}
	})
	return b.err
}

func (b *binary) stop() error {
	b.once.Do(func() {}) // no test asked, or each has ended
	if b.servers == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if b.template != "" && b.servers.postgres == nil { // somebody else's Postgres
		if err := execSQL(ctx, b.servers.databaseURL, "DROP DATABASE "+b.template+" WITH (FORCE)"); err != nil {
			return err
		}
	}
	return b.servers.close(ctx)
}

// Env is one test's part of the servers.
type Env struct {
	RedisURL    string // for redis.ParseURL
	DatabaseURL string // for pgx: a migrated database of this test's own; "" without Options.Migrate
	Prefix      string // begins every key of this test, before a colon: letters and digits, unique

	tb testing.TB
}

// New gives the test its part of the shared servers, until its end. Parallel
// tests do not see each other.
func New(tb testing.TB) *Env {
	tb.Helper()
	b := current.Load()
	if b == nil {
		tb.Fatal("harness: TestMain does not call harness.Main")
	}
	if err := b.start(); err != nil {
		tb.Fatalf("harness: %v", err)
	}
	e := &Env{tb: tb, RedisURL: b.servers.redisURL, Prefix: fmt.Sprintf("t%s%d", b.id, b.tests.Add(1))}
	tb.Cleanup(e.deleteKeys)
	if b.template != "" {
		e.createDatabase(b.servers.databaseURL, b.template)
	}
	return e
}

// Redis is a client of the test's Redis, closed at the test's end. It sends
// nothing twice and heeds the contexts' deadlines.
func (e *Env) Redis() redis.UniversalClient {
	e.tb.Helper()
	client, err := newRedis(e.RedisURL)
	if err != nil {
		e.tb.Fatalf("harness: %v", err)
	}
	e.tb.Cleanup(func() {
		if err := client.Close(); err != nil {
			e.tb.Errorf("harness: close redis client: %v", err)
		}
	})
	return client
}

func newRedis(rawURL string) (*redis.Client, error) {
	o, err := redis.ParseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("redis address: %w", err)
	}
	o.MaxRetries = -1
	o.ContextTimeoutEnabled = true
	return redis.NewClient(o), nil
}

func (e *Env) deleteKeys() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	client, err := newRedis(e.RedisURL)
	if err != nil {
		e.tb.Errorf("harness: %v", err)
		return
	}
	defer func() { _ = client.Close() }()
	var cursor uint64
	for {
		var keys []string
		keys, cursor, err = client.Scan(ctx, cursor, e.Prefix+":*", 1000).Result()
		if err == nil && len(keys) > 0 {
			err = client.Unlink(ctx, keys...).Err()
		}
		if err != nil {
			e.tb.Errorf("harness: delete the keys of %s: %v", e.Prefix, err)
			return
		}
		if cursor == 0 {
			return
		}
	}
}

func (e *Env) createDatabase(server, template string) {
	e.tb.Helper()
	name := "holdfast_" + e.Prefix
	// A copy is refused while a connection of the migration's winds down.
	Eventually(e.tb, 10*time.Second, func() error {
		return execSQL(e.tb.Context(), server, "CREATE DATABASE "+name+" TEMPLATE "+template)
	})
	e.tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := execSQL(ctx, server, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			e.tb.Errorf("harness: %v", err)
		}
	})
	at, err := withDatabase(server, name)
	if err != nil {
		e.tb.Fatalf("harness: %v", err)
	}
	e.DatabaseURL = at
}

// withDatabase is the address of another database of the same server.
func withDatabase(server, name string) (string, error) {
	u, err := url.Parse(server)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return "", fmt.Errorf("the database's address is no postgres:// URL: %w", err)
	}
	u.Path = "/" + name
	return u.String(), nil
}

func execSQL(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}
