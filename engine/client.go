package engine

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ClientConfig says how to reach Redis.
type ClientConfig struct {
	// URL is redis://[user:password@]host:port/db, rediss://… or
	// unix:///path?db=0. Required.
	URL string
	// PoolSize is how many connections there may be. Defaults to 32.
	PoolSize int
	// Timeout bounds dialling, each read and each write. Defaults to 2 s.
	Timeout time.Duration
}

// NewClient makes a Redis client that is fit for scripts which change things:
// it never re-sends a call by itself and obeys the deadline of its context.
func NewClient(cfg ClientConfig) (*redis.Client, error) {
	opts, err := redis.ParseURL(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: Redis URL: %w", ErrInvalid, err)
	}
	if cfg.PoolSize == 0 {
		cfg.PoolSize = 32
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	opts.PoolSize = cfg.PoolSize
	opts.DialTimeout = cfg.Timeout
	opts.ReadTimeout = cfg.Timeout
	opts.WriteTimeout = cfg.Timeout
	opts.PoolTimeout = cfg.Timeout
	opts.MaxRetries = -1
	opts.DialerRetries = 1
	opts.ContextTimeoutEnabled = true
	opts.Protocol = 2 // RESP3's push messages are looked for before every reply
	return redis.NewClient(opts), nil
}

// retries is how often the client sends a call again by itself.
func retries(c redis.UniversalClient) int {
	switch c := c.(type) {
	case *redis.Client:
		return c.Options().MaxRetries
	case *redis.ClusterClient:
		return c.Options().MaxRetries
	case *redis.Ring:
		return c.Options().MaxRetries
	}
	return 0
}

// unavailable turns what go-redis returned into the engine's errors: nil stays
// nil, a full memory is ErrOverloaded, counters that disagree ErrCorrupt, and
// everything else ErrUnavailable.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrFenced) {
		return err
	}
	text := err.Error()
	switch {
	case strings.HasPrefix(text, "OOM "):
		return fmt.Errorf("%w: %w", ErrOverloaded, err)
	case strings.HasPrefix(text, "HFCORRUPT "), strings.HasPrefix(text, "WRONGTYPE "),
		strings.HasPrefix(text, "ERR ") && strings.Contains(text, "user_script"):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
