package devservers

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// NodeConfig is one redis-server among several that work together: a primary,
// a replica, a Sentinel or a node of a cluster.
type NodeConfig struct {
	// Dir is the folder of its data and log, made where missing; the caller
	// removes it. Required.
	Dir string

	// Addr is where it listens, host:port. It stays the same for the node's
	// life, since the others know it by that. Required.
	Addr string

	// Args are further arguments of redis-server; they win over the package's.
	// Defaults to none.
	Args []string

	// Sentinel makes it a Sentinel with this configuration, which it rewrites
	// itself as it learns. Defaults to a server that holds data.
	Sentinel string

	// Path are the folders to look for redis-server in. Defaults to those of
	// PATH and those where apt, dnf and brew put it.
	Path []string

	// StartTimeout bounds each start. Defaults to 30 seconds.
	StartTimeout time.Duration

	// Died is called when the server ends though nobody stopped it. Defaults
	// to nothing.
	Died func(error)
}

// NewNode makes a node, not yet started. It returns ErrMissing, wrapped, where
// no redis-server is installed.
//
// Where the system allows, the node is killed with its owner: a term signal
// would not end one that is stopped (SIGSTOP).
func NewNode(cfg NodeConfig) (*Redis, error) {
	bin, err := Find(cfg.Path)
	if bin.Redis == "" {
		return nil, err
	}
	if cfg.Dir == "" || cfg.Addr == "" {
		return nil, errors.New("a node needs a folder and an address")
	}
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = 30 * time.Second
	}
	if err := privateFolder(cfg.Dir, nil); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	r := &Redis{
		bin: bin.Redis, dir: cfg.Dir, addr: cfg.Addr, args: cfg.Args,
		timeout: cfg.StartTimeout, death: syscall.SIGKILL, log: slog.New(slog.DiscardHandler), unexpected: cfg.Died,
	}
	if cfg.Sentinel != "" {
		r.sentinel = filepath.Join(cfg.Dir, "sentinel.conf")
		if err := os.WriteFile(r.sentinel, []byte(cfg.Sentinel), 0o600); err != nil {
			return nil, fmt.Errorf("sentinel: %w", err)
		}
	}
	return r, nil
}
