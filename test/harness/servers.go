package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/holdfast/holdfast/cmd/devservers"
)

const (
	startTimeout  = 3 * time.Minute // a first docker run pulls the images
	stopTimeout   = 20 * time.Second
	dockerTimeout = 2 * time.Second // for the engine's answer to a ping
)

// server is one server that a test may stop, kill and start again.
type server interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	Kill() error
}

// servers are a running Redis and, unless left out, Postgres.
type servers struct {
	redisURL    string
	databaseURL string // "" without Postgres

	// nil where the servers are not ours to stop.
	redis    server
	postgres server
	close    func(context.Context) error
}

// launch is what servers to start.
type launch struct {
	postgres         bool
	redisArgs        []string
	postgresSettings []string
}

func (l launch) start(ctx context.Context, own bool) (*servers, error) {
	getenv := os.Getenv
	if own {
		// Servers of the environment are others' too: no test stops those.
		getenv = func(name string) string {
			if v := os.Getenv(name); name == EnvServers && v != string(fromEnv) {
				return v
			}
			return ""
		}
	}
	from, err := choose(getenv, func() error { return pingDocker(ctx) }, l.installed)
	if err != nil {
		return nil, err
	}
	switch from {
	case fromEnv:
		s := &servers{
			redisURL: os.Getenv(EnvRedisURL),
			close:    func(context.Context) error { return nil },
		}
		if l.postgres {
			s.databaseURL = os.Getenv(EnvDatabaseURL)
		}
		return s, nil
	case fromDocker:
		return l.startDocker(ctx)
	default:
		return l.startLocal(ctx)
	}
}

func (l launch) installed() error {
	found, err := devservers.Find(nil)
	if err != nil && !l.postgres && found.Redis != "" {
		return nil
	}
	return err
}

func (l launch) startLocal(ctx context.Context) (*servers, error) {
	local, err := devservers.Start(ctx, devservers.Config{
		RedisOnly: !l.postgres, RedisArgs: l.redisArgs,
		PostgresSettings: append([]string{"fsync=off", "full_page_writes=off"}, l.postgresSettings...),
	})
	if err != nil {
		return nil, fmt.Errorf("start local servers: %w", err)
	}
	s := &servers{redisURL: local.RedisURL(), databaseURL: local.DatabaseURL(), redis: local.Redis}
	if local.Postgres != nil {
		s.postgres = local.Postgres
	}
	s.close = func(ctx context.Context) error {
		err := local.Stop(ctx)
		select {
		case died := <-local.Died():
			return errors.Join(err, died)
		default:
			return err
		}
	}
	return s, nil
}
