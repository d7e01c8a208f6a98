package main

import (
	"context"
	"fmt"

	"github.com/holdfast/holdfast/persist"
)

type migrateCommand struct {
	DatabaseURL string `env:"HOLDFAST_DATABASE_URL" secret:"" placeholder:"URL" help:"Postgres, such as postgres://user:password@127.0.0.1:5432/holdfast."`
}

// Help is shown by --help.
func (*migrateCommand) Help() string {
	return `May be run at any time, by any number of processes at once: one migrates, the others wait. Run it before the instances of a new version start, with a role that may create tables.`
}

// Run migrates.
func (c *migrateCommand) Run(ctx context.Context) error {
	if err := validDatabaseURL(c.DatabaseURL); err != nil {
		return err
	}
	if err := persist.Migrate(ctx, c.DatabaseURL); err != nil {
		return err
	}
	fmt.Println("The database has the schema of holdfast", version+".")
	return nil
}
