package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/holdfast/holdfast/cmd/loadtest"
)

type loadtestCommand struct {
	URL        string        `env:"HOLDFAST_LOADTEST_URL" default:"http://127.0.0.1:3000" help:"Address of the instance, or of the proxy before several."`
	AdminToken string        `name:"admin-token" secret:"" env:"HOLDFAST_ADMIN_TOKEN" placeholder:"TOKEN" help:"The instance's admin token, to create a drop with; dev needs none."`
	Scenario   string        `env:"HOLDFAST_LOADTEST_SCENARIO" enum:"reserve,checkout,soldout,browse,mixed" default:"checkout" help:"What buyers do: reserve, checkout, soldout, browse or mixed."`
	Buyers     int           `env:"HOLDFAST_LOADTEST_BUYERS" default:"64" help:"How many people there are, each with a connection; at most 10,000."`
	Rate       float64       `env:"HOLDFAST_LOADTEST_RATE" help:"How many come a second, whether or not those before have been served; at most 100,000. Without it, each comes again when served."`
	Duration   time.Duration `env:"HOLDFAST_LOADTEST_DURATION" default:"10s" help:"How long buyers come: 100ms to 1h."`
	Drop       int64         `env:"HOLDFAST_LOADTEST_DROP" help:"The drop that they want. Without it, one is created."`
	Stock      int64         `env:"HOLDFAST_LOADTEST_STOCK" help:"Units of a drop that is created; at most 16,777,216. Without it, 100 for soldout, else more than can be sold in the time."`
	Watchers   int           `env:"HOLDFAST_LOADTEST_WATCHERS" help:"WebSockets that follow the drop meanwhile; at most 10,000."`
	Report     string        `env:"HOLDFAST_LOADTEST_REPORT" default:"holdfast-loadtest.html" type:"path" placeholder:"FILE" help:"Where to write the report as a page; - for nowhere."`
	JSON       bool          `name:"json" help:"Print one JSON object instead of tables."`
}

// Help is shown by --help.
func (*loadtestCommand) Help() string {
	return `Has buyers come to a running Holdfast, and says how many won a unit, how many were refused and how long each call took.

  reserve    hold a unit
  checkout   hold a unit and buy it; one in ten lets it go instead: half of these cancel, half walk away
  soldout    want one of very few units
  browse     look at the list of drops and at the drop, with If-None-Match
  mixed      seven in ten look, two check out, one holds a unit and lets it go

Buyers are the users loadtest-1@example.com, loadtest-2@example.com, …, who stay, and so does a drop that was created: it ends by itself some minutes later, when the holds that were left have lapsed.

Afterwards the test audits the server by what its buyers were told: are all ids unique, are as many units gone as were won, are the counters right, do reservations stand as was answered, and has every watcher ended on the right counters? Of a drop that was not created for it, less can be judged, since others may buy too. Exit status: 0 all is right, 1 something is not.

With --rate a time runs from when the buyer was due, so who had to wait is counted with that wait (no coordinated omission); who cannot be served within about a second of arrivals is never sent, and counted apart.`
}

// Run makes a load test.
func (c *loadtestCommand) Run(ctx context.Context) (err error) {
	report, err := loadtest.Run(ctx, loadtest.Config{
		URL: c.URL, AdminToken: c.AdminToken, Scenario: loadtest.Scenario(c.Scenario), Buyers: c.Buyers, Rate: c.Rate, Duration: c.Duration,
		Drop: c.Drop, Stock: c.Stock, Watchers: c.Watchers,
		Progress: os.Stderr, Redraw: isatty.IsTerminal(os.Stderr.Fd()),
	})
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(os.Stdout).Encode(report)
	} else {
		err = report.Print(os.Stdout)
	}
	if err != nil {
		return err
	}
	if c.Report != "-" {
		if err := c.write(report); err != nil {
			return err
		}
	}
	if !report.OK {
		return errDiffers
	}
	return nil
}

func (c *loadtestCommand) write(report *loadtest.Report) (err error) {
	file, err := os.Create(c.Report)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := report.WritePage(file); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "Report:", c.Report)
	return nil
}
