package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// ClientConfig says how to reach Redis.
type ClientConfig struct {
	// URL is one of
	//
	//	redis://[user:password@]host:port/db
	//	unix:///path?db=0
	//	redis-sentinel://[user:password@]host:port,host:port,…[/db]?master=name[&sentinel_user=…][&sentinel_password=…]
	//	redis-cluster://[user:password@]host:port,host:port,…
	//
	// or with rediss, rediss-sentinel, rediss-cluster for TLS. The hosts are the
	// Sentinels, or some nodes of the cluster. Required.
	URL string
	// CAFile is a file of PEM certificates: a server's has to be signed by one of
	// them. Only with TLS. Defaults to the certificates of the system.
	CAFile string
	// CertFile and KeyFile are the PEM files of a certificate to show to the
	// servers, both or none. Only with TLS. Defaults to none.
	CertFile, KeyFile string
	// PoolSize is how many connections there may be, to each node of a
	// cluster. Defaults to 32.
	PoolSize int
	// Timeout bounds dialling, each read and each write. Defaults to 2 s.
	Timeout time.Duration
}

// clusterLook is how often a client looks at who serves what in a cluster. A
// master that is gone says nothing, so nothing else tells who replaced it.
const clusterLook = time.Second

// NewClient makes a Redis client that is fit for scripts which change things:
// it never re-sends a call by itself and obeys the deadline of its context. On a
// cluster that holds for the scripts, which package lua sends; plain commands
// may be sent again there.
func NewClient(cfg ClientConfig) (redis.UniversalClient, error) {
	to, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if err := to.secure(cfg); err != nil {
		return nil, err
	}
	if cfg.PoolSize == 0 {
		cfg.PoolSize = 32
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Second
	}
	const (
		retries  = -1
		dials    = 1
		protocol = 2 // RESP3's push messages are looked for before every reply
	)
	switch {
	case to.sentinel != nil:
		o := to.sentinel
		o.PoolSize, o.MaxRetries, o.DialerRetries, o.Protocol = cfg.PoolSize, retries, dials, protocol
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = cfg.Timeout, cfg.Timeout, cfg.Timeout, cfg.Timeout
		o.ContextTimeoutEnabled = true
		return redis.NewFailoverClient(o), nil
	case to.cluster != nil:
		o := to.cluster
		o.PoolSize, o.MaxRetries, o.DialerRetries, o.Protocol = cfg.PoolSize, retries, dials, protocol
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = cfg.Timeout, cfg.Timeout, cfg.Timeout, cfg.Timeout
		o.ContextTimeoutEnabled = true
		o.ClusterStateReloadInterval = clusterLook
		o.MaxRetryBackoff = 100 * time.Millisecond
		return redis.NewClusterClient(o), nil
	default:
		o := to.single
		o.PoolSize, o.MaxRetries, o.DialerRetries, o.Protocol = cfg.PoolSize, retries, dials, protocol
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = cfg.Timeout, cfg.Timeout, cfg.Timeout, cfg.Timeout
		o.ContextTimeoutEnabled = true
		return redis.NewClient(o), nil
	}
}

// retries is how often the client sends a call again by itself where that may
// have been executed. That a ClusterClient also does so for each MaxRedirects does not
// count: package lua does not let it.
func retries(c redis.UniversalClient) int {
	switch c := c.(type) {
	case *redis.Client: // with or without Sentinels
		return c.Options().MaxRetries
	case *redis.ClusterClient:
		return c.Options().MaxRetries // of its nodes' clients
	case *redis.Ring:
		return c.Options().MaxRetries
	}
	return 0
}

// eachMaster calls do for every server that takes writes: the masters of a
// cluster, at once, or the one there is. It returns the first error.
func eachMaster(ctx context.Context, c redis.UniversalClient, do func(context.Context, redis.Cmdable) error) error {
	cluster, ok := c.(*redis.ClusterClient)
	if !ok {
		return do(ctx, c)
	}
	return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return do(ctx, master) })
}

// ping is nil when Redis answers. Of a cluster one master must: while another
// is being replaced, most drops are served.
func ping(ctx context.Context, c redis.UniversalClient) error {
	var answers atomic.Bool
	err := eachMaster(ctx, c, func(ctx context.Context, master redis.Cmdable) error {
		err := master.Ping(ctx).Err()
		if err == nil {
			answers.Store(true)
		}
		return err
	})
	if answers.Load() {
		return nil
	}
	return err
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
	case strings.Contains(text, "non local key"):
		// A slot on its way to another master: the scripts touch what may have
		// left before they write. The caller may come again.
	case strings.HasPrefix(text, "HFCORRUPT "), strings.HasPrefix(text, "WRONGTYPE "),
		strings.HasPrefix(text, "ERR ") && strings.Contains(text, "user_script"):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
