package persist

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config of a Store.
type Config struct {
	// URL of the database, as libpq reads it. Required.
	URL string
	// MaxConns is the most connections held. Defaults to 16.
	MaxConns int
	// Timeout bounds one call: waiting for a connection, and the statements.
	// Defaults to 5 s.
	Timeout time.Duration
	// ConnectTimeout bounds making one connection. Defaults to 3 s.
	ConnectTimeout time.Duration
	// Tracer sees every statement. Defaults to none.
	Tracer pgx.QueryTracer
}

// Store is the database. Its methods may be called at once from anywhere;
// each is bounded by Config.Timeout and returns ErrUnavailable when Postgres
// does not answer, ErrNotFound and ErrInvalid where they say so.
type Store struct {
	pool    *pgxpool.Pool
	timeout time.Duration
}

// Open makes a Store. It does not wait for Postgres: Ping does.
func Open(cfg Config) (*Store, error) {
	if cfg.URL == "" {
		return nil, errors.New("persist: URL is required")
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = 16
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.ConnectTimeout <= 0 {
		cfg.ConnectTimeout = 3 * time.Second
	}
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	pc.MaxConns = int32(min(cfg.MaxConns, 1000)) //nolint:gosec // at most 1000, as it says
	pc.ConnConfig.ConnectTimeout = cfg.ConnectTimeout
	pc.ConnConfig.Tracer = cfg.Tracer
	set := pc.ConnConfig.RuntimeParams
	set["statement_timeout"] = milliseconds(cfg.Timeout)
	// A process that freezes in mid-transaction must not keep its row locks.
	set["idle_in_transaction_session_timeout"] = milliseconds(2 * cfg.Timeout)
	if set["application_name"] == "" {
		set["application_name"] = "holdfast"
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), pc)
	if err != nil {
		return nil, fmt.Errorf("database pool: %w", err)
	}
	return &Store{pool: pool, timeout: cfg.Timeout}, nil
}

// Close waits for the calls under way and closes every connection.
func (s *Store) Close() { s.pool.Close() }

// Ping asks Postgres for a sign of life.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	return wrap("ping postgres", s.pool.Ping(ctx))
}

func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.timeout)
}

func milliseconds(d time.Duration) string {
	return strconv.FormatInt(d.Milliseconds(), 10)
}
