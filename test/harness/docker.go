package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/postgres"
	"github.com/testcontainers/testcontainers-go/modules/redis"

	"github.com/holdfast/holdfast/cmd/devservers"
)

const (
	redisImage    = "redis:8-alpine"
	postgresImage = "postgres:17-alpine"
)

// pingDocker tells why no Docker engine can be used; nil when one answers.
func pingDocker(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dockerTimeout)
	defer cancel()
	engine, err := client.New(client.FromEnv)
	if err != nil {
		return fmt.Errorf("docker: %w", err)
	}
	_, err = engine.Ping(ctx, client.PingOptions{})
	if err = errors.Join(err, engine.Close()); err != nil {
		return fmt.Errorf("docker engine does not answer: %w", err)
	}
	return nil
}

func (l launch) startDocker(ctx context.Context) (_ *servers, err error) {
	s := &servers{}
	var started []testcontainers.Container
	s.close = func(ctx context.Context) error {
		errs := make([]error, 0, len(started))
		for _, c := range started {
			errs = append(errs, c.Terminate(ctx))
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			err = errors.Join(err, s.close(cleanup))
		}
	}()

	fixed, err := fixedPort("6379/tcp")
	if err != nil {
		return nil, err
	}
	args := append(append([]string{"redis-server"}, devservers.RedisSettings()...), l.redisArgs...)
	r, err := redis.Run(ctx, redisImage, testcontainers.WithCmd(args...), fixed)
	if r != nil {
		started = append(started, r)
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", redisImage, err)
	}
	s.redis = &dockerServer{r}
	if s.redisURL, err = r.ConnectionString(ctx); err != nil {
		return nil, fmt.Errorf("address of %s: %w", redisImage, err)
	}
	if !l.postgres {
		return s, nil
	}

	if fixed, err = fixedPort("5432/tcp"); err != nil {
		return nil, err
	}
	var settings []string
	for _, setting := range l.postgresSettings {
		settings = append(settings, "-c", setting)
	}
	p, err := postgres.Run(ctx, postgresImage, postgres.WithDatabase("holdfast"), postgres.WithUsername("holdfast"),
		postgres.WithPassword("holdfast"), postgres.BasicWaitStrategies(), testcontainers.WithCmdArgs(settings...), fixed)
	if p != nil {
		started = append(started, p)
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", postgresImage, err)
	}
	s.postgres = &dockerServer{p}
	if s.databaseURL, err = p.ConnectionString(ctx, "sslmode=disable"); err != nil {
		return nil, fmt.Errorf("address of %s: %w", postgresImage, err)
	}
	return s, nil
}

// fixedPort publishes a container's port at a free one of this machine, named
// rather than left to Docker, which would choose another at a restart.
func fixedPort(port string) (testcontainers.ContainerCustomizer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("choose a port: %w", err)
	}
	_, host, err := net.SplitHostPort(l.Addr().String())
	if err = errors.Join(err, l.Close()); err != nil {
		return nil, fmt.Errorf("choose a port: %w", err)
	}
	inside, err := network.ParsePort(port)
	if err != nil {
		return nil, fmt.Errorf("port %s: %w", port, err)
	}
	return testcontainers.WithHostConfigModifier(func(c *container.HostConfig) {
		c.PortBindings = network.PortMap{inside: {{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: host}}}
	}), nil
}

// dockerServer is a server in a container, which keeps its data and address
// until it is terminated.
type dockerServer struct{ container testcontainers.Container }

func (d *dockerServer) Start(ctx context.Context) error { return d.container.Start(ctx) }

func (d *dockerServer) Stop(ctx context.Context) error {
	grace := stopTimeout
	return d.container.Stop(ctx, &grace)
}

func (d *dockerServer) Kill() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	engine, err := client.New(client.FromEnv)
	if err != nil {
		return fmt.Errorf("docker: %w", err)
	}
	_, err = engine.ContainerKill(ctx, d.container.GetContainerID(), client.ContainerKillOptions{Signal: "KILL"})
	return errors.Join(err, engine.Close())
}

func (d *dockerServer) pause(stop bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	engine, err := client.New(client.FromEnv)
	if err != nil {
		return fmt.Errorf("docker: %w", err)
	}
	id := d.container.GetContainerID()
	if stop {
		_, err = engine.ContainerPause(ctx, id, client.ContainerPauseOptions{})
	} else {
		_, err = engine.ContainerUnpause(ctx, id, client.ContainerUnpauseOptions{})
	}
	return errors.Join(err, engine.Close())
}
