package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast/holdfast/cmd/devservers"
	"github.com/holdfast/holdfast/persist"
)

type devCommand struct {
	listenFlags
	identityFlags
	webhookFlags
	seeFlags
	fairFlags
	Host string `env:"HOLDFAST_HOST" default:"127.0.0.1" help:"Address of the API."`
	Data string `env:"HOLDFAST_DATA" default:".holdfast" type:"path" help:"Folder for the data of Redis and Postgres."`
}

// Help is shown by --help.
func (*devCommand) Help() string {
	return `Starts a redis-server and a Postgres of this machine, reachable through unix sockets in the data folder alone, migrates, adds sample drops when there are none, and serves the API and the workers in one process. Ctrl-C stops all of it in order. The data stays in the folder and is there at the next start.`
}

// Run serves until Ctrl-C.
func (c *devCommand) Run(ctx context.Context, log *slog.Logger) (err error) {
	if err := errors.Join(c.listenFlags.validate(), c.webhookFlags.validate(), c.seeFlags.validate(), c.fairFlags.validate()); err != nil {
		return err
	}
	// First what fails quickly: the port.
	listener, err := listen(ctx, c.Host, c.Port)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // closed already, unless the start failed
	fmt.Println("Starting Redis and Postgres …")
	servers, err := devservers.Start(ctx, devservers.Config{Dir: c.Data, Log: log})
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, stopServers(servers))
		fmt.Println("Stopped.")
	}()
	// In the data folder, which is there and is ours from now on.
	if err := errors.Join(c.complete(c.Data), c.identityFlags.validate()); err != nil {
		return err
	}
	if err := persist.Migrate(ctx, servers.DatabaseURL()); err != nil {
		return err
	}
	flags := storeFlags{RedisURL: servers.RedisURL(), DatabaseURL: servers.DatabaseURL(), Prefix: "hf", Partitions: 16, MaxLedger: 100_000, MaxMemory: 90}
	traces, err := newTraces(ctx, c.seeFlags, log)
	if err != nil {
		return err
	}
	fairUse := c.use(false)
	s, err := flags.openTraced(ctx, log, traces, c.webhookFlags, fairUse.limitPeople)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.seedIfEmpty(ctx); err != nil {
		return err
	}
	in := &instance{
		stores: s, listen: c.listenFlags, identity: c.identityFlags, openShop: true,
		webhooks: c.webhookFlags, see: c.seeFlags, fair: fairUse,
		host: c.Host, roles: allRoles, flushing: tellFlush(), listener: listener,
	}
	if err := in.start(ctx); err != nil {
		return err
	}
	c.greet(servers, in)
	return in.wait(ctx, servers.Died())
}

// tellFlush says what is still to be written, where that takes a while.
func tellFlush() func(left int64) {
	var since time.Time
	return func(left int64) {
		if since.IsZero() {
			since = time.Now()
		}
		if left > 0 && time.Since(since) > time.Second {
			fmt.Printf("\rWriting purchases to Postgres: %d ledger entries left … ", left)
		}
	}
}

// greet says what runs, where, and what to try.
func (c *devCommand) greet(servers *devservers.Servers, in *instance) {
	fmt.Printf("  Redis     %s (pid %d)\n", servers.RedisURL(), servers.Redis.PID())
	fmt.Printf("  Postgres  %s (pid %d)\n", servers.DatabaseURL(), servers.Postgres.PID())
	fmt.Printf("  Data      %s\n", c.Data)
	if dir := servers.PostgresElsewhere(); dir != "" {
		fmt.Printf("            Postgres's files are in %s, as its user cannot enter the folder above\n", dir)
	}
	fmt.Printf(`
Holdfast %s is open:
  the shop       %[2]s/
  the console    %[3]s/console#token=%[4]s
  the reference  %[2]s/docs

Identity is %[5]s, fair use is %[6]s. The console's link carries the admin token: it lets in whoever has it.
`, version, in.address(), in.backAddress(), c.AdminToken, c.Identity, in.fair)
	fmt.Printf(`
Try it:
  curl -s %[1]s/api/drops
  curl -s %[1]s/api/drops/create -H 'Content-Type: application/json' \
    -d '{"name":"Air Runner","price":180.00,"total_stock":100,"start_time":"%[2]s"}'
  curl -s %[1]s/api/drops/reserve -H 'Content-Type: application/json' \
    -d '{"dropId":1,"userName":"ada","email":"ada@example.com"}'
  curl -s %[1]s/api/drops/purchase -H 'Content-Type: application/json' \
    -d '{"reservationId":<the id that reserve answered>}'

Ctrl-C stops everything; the data stays.
`, in.address(), time.Now().UTC().Format(time.RFC3339))
}

// serverTimeout is what each server gets to end in order before it is killed.
// Both keep what they acknowledged either way.
const serverTimeout = 3 * time.Second

func stopServers(servers *devservers.Servers) error {
	within := func(stop func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(context.Background(), serverTimeout)
		defer cancel()
		return stop(ctx)
	}
	return errors.Join(within(servers.Postgres.Stop), within(servers.Stop))
}
