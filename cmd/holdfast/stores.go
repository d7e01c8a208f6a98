package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// storeFlags say where Redis and Postgres are.
type storeFlags struct {
	RedisURL      string `env:"HOLDFAST_REDIS_URL" secret:"" placeholder:"URL" help:"Redis, such as redis://127.0.0.1:6379/0, unix:///run/redis.sock, redis-sentinel://a:26379,b:26379/0?master=name or redis-cluster://a:6379,b:6379."`
	RedisCA       string `name:"redis-ca" env:"HOLDFAST_REDIS_CA" placeholder:"FILE" help:"Certificates (PEM) that Redis's has to be signed by, with rediss:// and its kin; by default those of the system."`
	RedisCert     string `env:"HOLDFAST_REDIS_CERT" placeholder:"FILE" help:"Certificate (PEM) to show to Redis, where it asks for one."`
	RedisKey      string `env:"HOLDFAST_REDIS_KEY" placeholder:"FILE" help:"Key (PEM) of that certificate."`
	DatabaseURL   string `env:"HOLDFAST_DATABASE_URL" secret:"" placeholder:"URL" help:"Postgres, such as postgres://user:password@127.0.0.1:5432/holdfast."`
	DatabaseConns int    `env:"HOLDFAST_DATABASE_CONNS" default:"16" help:"Most connections to Postgres; those of all instances have to fit its max_connections."`
	Prefix        string `env:"HOLDFAST_PREFIX" default:"hf" help:"What every Redis key begins with."`
	MaxLedger     int64  `env:"HOLDFAST_MAX_LEDGER" default:"100000" help:"Entries of one partition's ledger that may wait for Postgres; at that many no more holds begin."`
	MaxMemory     int    `name:"max-memory-percent" env:"HOLDFAST_MAX_MEMORY_PERCENT" default:"90" help:"How much of Redis's maxmemory may be used before no more holds begin."`
	Partitions    int    `env:"HOLDFAST_PARTITIONS" default:"16" help:"Partitions of the key space; fixed when a deployment is first started."`
}

// validate gives every error at once, not the first alone.
func (f storeFlags) validate() error {
	var errs []error
	if f.RedisURL == "" {
		errs = append(errs, errors.New("HOLDFAST_REDIS_URL (--redis-url) is not set"))
	} else if err := f.redisConfig().Check(); err != nil {
		errs = append(errs, fmt.Errorf("HOLDFAST_REDIS_URL (--redis-url): %w", err))
	}
	errs = append(errs, validDatabaseURL(f.DatabaseURL))
	if f.DatabaseConns < 1 || f.DatabaseConns > 1000 {
		errs = append(errs, fmt.Errorf("HOLDFAST_DATABASE_CONNS (--database-conns): %d is not in 1 … 1000", f.DatabaseConns))
	}
	if f.Partitions < 1 || f.Partitions > 1024 {
		errs = append(errs, fmt.Errorf("HOLDFAST_PARTITIONS (--partitions): %d is not in 1 … 1024", f.Partitions))
	}
	if f.MaxLedger < 1 {
		errs = append(errs, fmt.Errorf("HOLDFAST_MAX_LEDGER (--max-ledger): %d is not positive", f.MaxLedger))
	}
	if f.MaxMemory < 1 || f.MaxMemory > 100 {
		errs = append(errs, fmt.Errorf("HOLDFAST_MAX_MEMORY_PERCENT (--max-memory-percent): %d is not in 1 … 100", f.MaxMemory))
	}
	if f.Prefix == "" || strings.ContainsAny(f.Prefix, "{}: ") {
		errs = append(errs, fmt.Errorf("HOLDFAST_PREFIX (--prefix): %q must have no braces, colons or spaces", f.Prefix))
	}
	return errors.Join(errs...)
}

// redisConfig says how Redis is reached.
func (f storeFlags) redisConfig() engine.ClientConfig {
	return engine.ClientConfig{URL: f.RedisURL, CAFile: f.RedisCA, CertFile: f.RedisCert, KeyFile: f.RedisKey}
}

func validDatabaseURL(url string) error {
	if url == "" {
		return errors.New("HOLDFAST_DATABASE_URL (--database-url) is not set")
	}
	if _, err := pgxpool.ParseConfig(url); err != nil {
		return fmt.Errorf("HOLDFAST_DATABASE_URL (--database-url): %w", err)
	}
	return nil
}

// stores are the connections that the commands share.
type stores struct {
	engine  *engine.Engine
	store   *persist.Store
	users   *persist.Users
	recon   *persist.Reconciler
	redis   redis.UniversalClient // the engine's
	flags   storeFlags
	traces  *traces // nil: none
	metrics *prometheus.Registry
	log     *slog.Logger
}

// open connects to both stores; close must be called.
func (f storeFlags) open(ctx context.Context, log *slog.Logger) (*stores, error) {
	return f.openTraced(ctx, log, nil, webhookFlags{})
}

// openTraced is open, with the calls to both stores shown in the traces, receivers
// told of what changes of drops bring about, and changes made to the engine's configuration.
func (f storeFlags) openTraced(ctx context.Context, log *slog.Logger, t *traces, w webhookFlags, changes ...func(*engine.Config)) (_ *stores, err error) {
	s := &stores{flags: f, metrics: prometheus.NewRegistry(), log: log, traces: t}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.redis, err = engine.NewClient(f.redisConfig()); err != nil {
		return nil, err
	}
	if err = t.instrument(s.redis); err != nil {
		return nil, err
	}
	cfg := engine.Config{
		Redis: s.redis, Prefix: f.Prefix, Partitions: f.Partitions,
		MaxLedger: f.MaxLedger, MaxMemoryPercent: f.MaxMemory, Log: log, Metrics: s.metrics, Tracer: t.tracer(),
	}
	for _, change := range changes {
		change(&cfg)
	}
	if s.engine, err = engine.New(cfg); err != nil {
		return nil, err
	}
	if s.store, err = persist.Open(persist.Config{URL: f.DatabaseURL, MaxConns: f.DatabaseConns, Tracer: t.statements()}); err != nil {
		return nil, err
	}
	if s.users, err = persist.NewUsers(persist.UsersConfig{Store: s.store}); err != nil {
		return nil, err
	}
	subscriptions, err := w.subscriptions()
	if err != nil {
		return nil, err
	}
	s.recon, err = persist.NewReconciler(persist.ReconcilerConfig{
		Engine: s.engine, Store: s.store, Webhooks: subscriptions, Log: log, Metrics: s.metrics,
	})
	if err != nil {
		return nil, err
	}
	if err = s.engine.Start(ctx); err != nil {
		return nil, fmt.Errorf("Redis: %w", err) //nolint:staticcheck // a name begins the message
	}
	return s, nil
}

// close ends all connections, within closeTimeout: a store that does not answer
// must not keep the process.
func (s *stores) close() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if s.engine != nil {
			s.engine.Stop()
		}
		if s.redis != nil {
			_ = s.redis.Close() // nothing is under way any more
		}
		if s.store != nil {
			s.store.Close()
		}
		s.traces.stop()
	}()
	select {
	case <-done:
	case <-time.After(closeTimeout):
		s.log.Warn("a store did not answer at the end")
	}
}

const closeTimeout = time.Second

// consumerName tells this instance's ledger reader from others, and is the same
// after a restart: consumers of a group are never forgotten.
func consumerName(port int) string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	return fmt.Sprintf("%s-%d", host, port)
}
