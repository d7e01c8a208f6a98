package devservers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxSocketPath is what every system takes as the path of a unix socket, with
// room for the name that Postgres gives its own.
const maxSocketPath = 80

// Config of the servers.
type Config struct {
	// Dir is the data folder, made where missing. Defaults to a temporary
	// folder, whose data is thrown away by Stop and is not synced when made.
	Dir string

	// TCP has the servers listen on free ports of 127.0.0.1, open to every
	// user of the machine, in place of unix sockets, open only to this one.
	// Defaults to false.
	TCP bool

	// RedisOnly leaves Postgres out. Defaults to false.
	RedisOnly bool

	// RedisArgs are further arguments of redis-server, such as
	// "--maxmemory", "64mb"; they win over the package's. Defaults to none.
	RedisArgs []string

	// PostgresSettings are further settings, such as "fsync=off"; they win
	// over the package's. Defaults to none.
	PostgresSettings []string

	// Path are the folders to look for the servers in. Defaults to those of
	// PATH and those where apt, dnf and brew put them.
	Path []string

	// StartTimeout bounds the start of each server. Defaults to 30 seconds.
	StartTimeout time.Duration

	// Log is told of orphans and fallbacks. Defaults to nothing being logged.
	Log *slog.Logger
}

// Servers are a running Redis and Postgres.
type Servers struct {
	Redis    *Redis
	Postgres *Postgres // nil with Config.RedisOnly

	dir   string
	temp  []string   // folders that Stop removes
	locks []*os.File // of the data folder and of Postgres's
	died  chan error
}

// Start starts the servers and returns when both answer. It returns, wrapped,
// ErrMissing when one of them is not installed and ErrInUse when another
// process runs servers on the same data. A copy of a data folder is refused
// where it would share the database of the first. Where a server ends while starting,
// the error holds the last lines of its log. Nothing is left running then.
func Start(ctx context.Context, cfg Config) (*Servers, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = 30 * time.Second
	}
	bin, err := Find(cfg.Path)
	if err != nil && (bin.Redis == "" || !cfg.RedisOnly) {
		return nil, err
	}
	s := &Servers{died: make(chan error, 2)}
	if err := s.start(ctx, cfg, bin); err != nil {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return nil, errors.Join(err, s.Stop(cleanup))
	}
	return s, nil
}

func (s *Servers) start(ctx context.Context, cfg Config, bin Binaries) error {
	var as *syscall.Credential
	var err error
	if !cfg.RedisOnly {
		if as, err = runAs(); err != nil {
			return err
		}
	}
	temporary := cfg.Dir == ""
	if err := s.openFolder(cfg.Dir, as); err != nil {
		return err
	}
	if s.Redis, err = s.newRedis(cfg, bin); err != nil {
		return err
	}
	if cfg.RedisOnly {
		return s.Redis.Start(ctx)
	}
	if s.Postgres, err = s.newPostgres(cfg, bin, as, temporary); err != nil {
		return err
	}
	started := make(chan error, 1)
	go func() { started <- s.Redis.Start(ctx) }()
	err = s.Postgres.Start(ctx)
	return errors.Join(err, <-started)
}

// openFolder makes the data folder and takes it for this process.
func (s *Servers) openFolder(dir string, as *syscall.Credential) error {
	var err error
	if dir == "" {
		if s.dir, err = s.tempFolder(as); err != nil {
			return err
		}
	} else {
		if s.dir, err = filepath.Abs(dir); err != nil {
			return fmt.Errorf("data folder: %w", err)
		}
		mode := fs.FileMode(0o700)
		if as != nil {
			mode = 0o711 // its user passes through to the folder of its own
		}
		if err := os.MkdirAll(s.dir, mode); err != nil {
			return fmt.Errorf("data folder: %w", err)
		}
	}
	// Without links in its path, so that what lies below can be told.
	if s.dir, err = filepath.EvalSymlinks(s.dir); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	lock, err := lockFolder(s.dir)
	if err != nil {
		return err
	}
	s.locks = append(s.locks, lock)
	return nil
}

// tempFolder makes a folder that is removed by Stop and that as can enter,
// for which TMPDIR may be too private.
func (s *Servers) tempFolder(as *syscall.Credential) (string, error) {
	for _, parent := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		sweep(parent)
		dir, err := os.MkdirTemp(parent, "holdfast-")
		if err != nil {
			return "", fmt.Errorf("temporary folder: %w", err)
		}
		s.temp = append(s.temp, dir)
		if as != nil {
			if err := os.Chmod(dir, 0o711); err != nil {
				return "", fmt.Errorf("temporary folder: %w", err)
			}
		}
		ok, err := canEnter(dir, as)
		if ok || err != nil {
			return dir, err
		}
	}
	return "", errors.New("temporary folder: user postgres can enter none")
}

// sweep removes the temporary folders, older than an hour, of owners that were
// killed. What it cannot remove it leaves.
func sweep(parent string) {
	locks, err := filepath.Glob(filepath.Join(parent, "holdfast-*", "lock"))
	if err != nil {
		return
	}
	for _, path := range locks {
		info, err := os.Stat(path)
		if err != nil || time.Since(info.ModTime()) < time.Hour {
			continue
		}
		if f, err := lockFolder(filepath.Dir(path)); err == nil {
			_ = os.RemoveAll(filepath.Dir(path))
			_ = f.Close()
		}
	}
}

func (s *Servers) newRedis(cfg Config, bin Binaries) (*Redis, error) {
	r := &Redis{
		bin: bin.Redis, dir: filepath.Join(s.dir, "redis"), args: cfg.RedisArgs,
		timeout: cfg.StartTimeout, death: syscall.SIGTERM, log: cfg.Log, unexpected: s.report,
	}
	if err := privateFolder(r.dir, nil); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	if cfg.TCP {
		return r, nil
	}
	folder, err := s.socketFolder(r.dir, nil)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	r.socket = filepath.Join(folder, "redis.sock")
	return r, nil
}

func (s *Servers) newPostgres(cfg Config, bin Binaries, as *syscall.Credential, temporary bool) (*Postgres, error) {
	dir, err := s.postgresFolder(as)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	p := &Postgres{
		dir: dir, settings: cfg.PostgresSettings, noSync: temporary, as: as,
		timeout: cfg.StartTimeout, log: cfg.Log, unexpected: s.report,
	}
	if p.bin, err = bin.postgresFor(p.data()); err != nil {
		return nil, err
	}
	if cfg.TCP {
		return p, nil
	}
	if p.sockets, err = s.socketFolder(filepath.Join(dir, "run"), as); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	return p, nil
}

// socketFolder is folder, made for as, or where its path is too long for a
// socket a short temporary one.
func (s *Servers) socketFolder(folder string, as *syscall.Credential) (string, error) {
	if len(folder) <= maxSocketPath {
		return folder, privateFolder(folder, as)
	}
	short, err := os.MkdirTemp("/tmp", "holdfast-run-")
	if err != nil {
		return "", err
	}
	s.temp = append(s.temp, short)
	return short, privateFolder(short, as)
}

// Dir is the absolute path of the data folder.
func (s *Servers) Dir() string { return s.dir }

// PostgresElsewhere is the folder of Postgres's files where that is not below
// the data folder, because the user postgres cannot enter it; "" otherwise.
func (s *Servers) PostgresElsewhere() string {
	if s.Postgres == nil || s.Postgres.dir == filepath.Join(s.dir, "postgres") {
		return ""
	}
	return s.Postgres.dir
}

// RedisURL is Redis's address for redis.ParseURL.
func (s *Servers) RedisURL() string { return s.Redis.URL() }

// DatabaseURL is the address of the database holdfast for pgx; "" with
// Config.RedisOnly.
func (s *Servers) DatabaseURL() string {
	if s.Postgres == nil {
		return ""
	}
	return s.Postgres.URL()
}

// Died gives an error for a server that ends though nobody stopped it. The
// channel is never closed.
func (s *Servers) Died() <-chan error { return s.died }

func (s *Servers) report(err error) {
	select {
	case s.died <- err:
	default: // the owner knows of two already
	}
}

// Stop stops Postgres, then Redis, each killed when ctx ends first, and lets
// go of the data folder. The data of a temporary one is removed.
func (s *Servers) Stop(ctx context.Context) error {
	var errs []error
	if s.Postgres != nil {
		errs = append(errs, s.Postgres.Stop(ctx))
	}
	if s.Redis != nil {
		errs = append(errs, s.Redis.Stop(ctx))
	}
	for _, dir := range s.temp {
		errs = append(errs, os.RemoveAll(dir))
	}
	for _, lock := range s.locks {
		errs = append(errs, lock.Close())
	}
	s.locks = nil
	return errors.Join(errs...)
}
