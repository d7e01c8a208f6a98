package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/holdfast/holdfast/cmd/doctor"
	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

type doctorCommand struct {
	storeFlags
	JSON bool `name:"json" help:"Print one JSON object instead of a table."`
}

// Help is shown by --help.
func (*doctorCommand) Help() string {
	return `Looks at the Redis and the Postgres of a deployment, with the settings that its instances have, and says how to mend what is not well: versions, settings, the rights of both users, migrations, clocks, partitions, the slots of a cluster, replicas. It may be run at any time; it writes nothing but keys <prefix>:{…}:doctor:…, which it deletes. Run it on the machine of an instance, whose clock and way to the stores it looks at. Exit status: 0 well, or things to look at; 1 something to mend.`
}

// Run looks.
func (c *doctorCommand) Run(ctx context.Context, log *slog.Logger) error {
	if err := c.validate(); err != nil {
		return err
	}
	client, err := engine.NewClient(c.redisConfig())
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	e, err := engine.New(engine.Config{Redis: client, Prefix: c.Prefix, Partitions: c.Partitions, Log: log})
	if err != nil {
		return err
	}
	store, err := persist.Open(persist.Config{URL: c.DatabaseURL, MaxConns: c.DatabaseConns})
	if err != nil {
		return err
	}
	defer store.Close()
	d, err := doctor.New(doctor.Config{Engine: e, Store: store})
	if err != nil {
		return err
	}
	report := d.Examine(ctx)
	if c.JSON {
		err = report.JSON(os.Stdout)
	} else {
		err = report.Print(os.Stdout)
	}
	if err == nil && report.Count(doctor.Fail) > 0 {
		return errDiffers
	}
	return err
}
