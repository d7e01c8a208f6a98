package harness

import (
	"context"
	"testing"
)

// OwnOptions of a test's private servers.
type OwnOptions struct {
	// RedisArgs are further arguments of redis-server, such as "--maxmemory",
	// "64mb". Defaults to none.
	RedisArgs []string

	// PostgresSettings are further settings, such as "max_connections=20".
	// Defaults to none.
	PostgresSettings []string

	// RedisOnly leaves Postgres out. Defaults to false.
	RedisOnly bool
}

// OwnEnv are private servers, which the test may stop, kill and start again:
// data and addresses stay. A server that already is in the wished state is
// left in it.
type OwnEnv struct {
	Env
	servers *servers
}

// Own starts private servers for one test, with a migrated database, and
// stops them at its end. Postgres is left out without Options.Migrate too.
func Own(tb testing.TB, o OwnOptions) *OwnEnv {
	tb.Helper()
	b := current.Load()
	if b == nil {
		tb.Fatal("harness: TestMain does not call harness.Main")
	}
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	l := launch{postgres: b.options.Migrate != nil && !o.RedisOnly, redisArgs: o.RedisArgs, postgresSettings: o.PostgresSettings}
	s, err := l.start(ctx, true)
	if err != nil {
		tb.Fatalf("harness: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := s.close(ctx); err != nil {
			tb.Errorf("harness: %v", err)
		}
	})
	if l.postgres {
		if err := b.options.Migrate(ctx, s.databaseURL); err != nil {
			tb.Fatalf("harness: migrate: %v", err)
		}
	}
	return &OwnEnv{
		Env:     Env{tb: tb, RedisURL: s.redisURL, DatabaseURL: s.databaseURL, Prefix: "own"},
		servers: s,
	}
}

// StopRedis has Redis end in order.
func (e *OwnEnv) StopRedis() { e.tb.Helper(); e.stop(e.servers.redis) }

// KillRedis ends Redis as kill -9 does.
func (e *OwnEnv) KillRedis() { e.tb.Helper(); e.kill(e.servers.redis) }

// StartRedis starts Redis again and waits until it answers.
func (e *OwnEnv) StartRedis() { e.tb.Helper(); e.start(e.servers.redis) }

// StopPostgres has Postgres end in order, ending its sessions.
func (e *OwnEnv) StopPostgres() { e.tb.Helper(); e.stop(e.servers.postgres) }

// KillPostgres ends Postgres as kill -9 does.
func (e *OwnEnv) KillPostgres() { e.tb.Helper(); e.kill(e.servers.postgres) }

// StartPostgres starts Postgres again and waits until it answers.
func (e *OwnEnv) StartPostgres() { e.tb.Helper(); e.start(e.servers.postgres) }

func (e *OwnEnv) start(s server) {
	e.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	e.check(s.Start(ctx))
}

func (e *OwnEnv) stop(s server) {
	e.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	e.check(s.Stop(ctx))
}

func (e *OwnEnv) kill(s server) { e.tb.Helper(); e.check(s.Kill()) }

func (e *OwnEnv) check(err error) {
	e.tb.Helper()
	if err != nil {
		e.tb.Fatalf("harness: %v", err)
	}
}
