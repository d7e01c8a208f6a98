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
	RedisURL      string `env:"HOLDFAST_REDIS_URL" placeholder:"URL" help:"Redis, such as redis://127.0.0.1:6379/0, unix:///run/redis.sock, redis-sentinel://a:26379,b:26379/0?master=name or redis-cluster://a:6379,b:6379."`
	DatabaseURL   string `env:"HOLDFAST_DATABASE_URL" placeholder:"URL" help:"Postgres, such as postgres://user:password@127.0.0.1:5432/holdfast."`
	DatabaseConns int    `env:"HOLDFAST_DATABASE_CONNS" default:"16" help:"Most connections to Postgres; those of all instances have to fit its max_connections."`
	Prefix        string `env:"HOLDFAST_PREFIX" default:"hf" help:"What every Redis key begins with."`
	Partitions    int    `env:"HOLDFAST_PARTITIONS" default:"16" help:"Partitions of the key space; fixed when a deployment is first started."`
}

// validate gives every error at once, not the first alone.
func (f storeFlags) validate() error {
	var errs []error
	if f.RedisURL == "" {
		errs = append(errs, errors.New("HOLDFAST_REDIS_URL (--redis-url) is not set"))
	} else if err := engine.CheckURL(f.RedisURL); err != nil {
		errs = append(errs, fmt.Errorf("HOLDFAST_REDIS_URL (--redis-url): %w", err))
	}
	errs = append(errs, validDatabaseURL(f.DatabaseURL))
	if f.DatabaseConns < 1 || f.DatabaseConns > 1000 {
		errs = append(errs, fmt.Errorf("HOLDFAST_DATABASE_CONNS (--database-conns): %d is not in 1 … 1000", f.DatabaseConns))
	}
	if f.Partitions < 1 || f.Partitions > 1024 {
		errs = append(errs, fmt.Errorf("HOLDFAST_PARTITIONS (--partitions): %d is not in 1 … 1024", f.Partitions))
	}
	if f.Prefix == "" || strings.ContainsAny(f.Prefix, "{}: ") {
		errs = append(errs, fmt.Errorf("HOLDFAST_PREFIX (--prefix): %q must have no braces, colons or spaces", f.Prefix))
	}
	return errors.Join(errs...)
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
	redis   redis.UniversalClient // the engine's
	flags   storeFlags
	metrics *prometheus.Registry
	log     *slog.Logger
}

// open connects to both stores; close must be called.
func (f storeFlags) open(ctx context.Context, log *slog.Logger) (_ *stores, err error) {
	s := &stores{flags: f, metrics: prometheus.NewRegistry(), log: log}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.redis, err = engine.NewClient(engine.ClientConfig{URL: f.RedisURL}); err != nil {
		return nil, err
	}
	s.engine, err = engine.New(engine.Config{
		Redis: s.redis, Prefix: f.Prefix, Partitions: f.Partitions, Log: log, Metrics: s.metrics,
	})
	if err != nil {
		return nil, err
	}
	if s.store, err = persist.Open(persist.Config{URL: f.DatabaseURL, MaxConns: f.DatabaseConns}); err != nil {
		return nil, err
	}
	if s.users, err = persist.NewUsers(persist.UsersConfig{Store: s.store}); err != nil {
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
	}()
	select {
	case <-done:
	case <-time.After(closeTimeout):
		s.log.Warn("a store did not answer at the end")
	}
}

const closeTimeout = time.Second

// openMissing opens the drops of the catalogue that Redis does not have, which
// on an empty Redis are all of them, and lists those whose creation was cut
// short. What Postgres knows as sold stays sold, and ids begin above those it
// knows. A drop that cannot be opened does not keep the others from selling.
func (s *stores) openMissing(ctx context.Context) error {
	opened := 0
	for d, err := range s.store.AllDrops(ctx) {
		if err != nil {
			return err
		}
		known, err := s.engine.Stock(ctx, []int64{d.ID})
		if err != nil {
			return err
		}
		if known[0] == nil {
			err := s.reopen(ctx, d)
			if errors.Is(err, engine.ErrInvalid) {
				s.log.Error("a drop that Redis does not have cannot be opened again", "drop", d.ID, "err", err)
				continue
			}
			if err != nil {
				return err
			}
			opened++
		}
		if d.Opened.IsZero() {
			if err := s.store.MarkOpened(ctx, d.ID); err != nil {
				return err
			}
		}
	}
	if opened > 0 {
		s.log.Warn("drops opened from Postgres: holds that were live in a lost Redis are gone", "drops", opened)
	}
	return nil
}

// reopen opens a drop from what Postgres knows of it.
func (s *stores) reopen(ctx context.Context, d persist.Drop) error {
	if d.Opened.IsZero() {
		return s.engine.Open(ctx, d.Terms(1)) // it never had a hold
	}
	last, err := s.store.LastSeq(ctx, d.ID)
	if err != nil {
		return err
	}
	if err := s.engine.Open(ctx, d.Terms(last+seqMargin)); err != nil {
		return fmt.Errorf("drop %d: %w", d.ID, err)
	}
	s.log.Warn("Redis did not have this drop; it was opened from Postgres", "drop", d.ID, "name", d.Name)
	return nil
}

// seqMargin keeps the ids of a drop opened again apart from those of holds that
// Postgres never heard of. 30 such margins fit a drop's ids.
const seqMargin = 1 << 20

// consumerName tells this instance's ledger reader from others, and is the same
// after a restart: consumers of a group are never forgotten.
func consumerName(port int) string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	return fmt.Sprintf("%s-%d", host, port)
}
