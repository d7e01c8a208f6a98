package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/holdfast/holdfast/persist"
)

type auditCommand struct {
	storeFlags
	JSON  bool          `name:"json" help:"Print one JSON object instead of a table."`
	Watch bool          `help:"Audit again and again until Ctrl-C; the exit status is that of the last."`
	Every time.Duration `default:"2s" help:"Rest between two audits of --watch."`
}

// Help is shown by --help.
func (*auditCommand) Help() string {
	return `Prints a line for every size of every drop: Redis's counters, the live holds counted one by one, the purchases in the ledger that are not in Postgres yet, and what Postgres has. It changes nothing.

A line is right when
  available + held + sold = total                     (conservation in Redis)
  held                    = live holds
  sold in Redis           = purchases in Postgres + pending
  sold in Postgres        = purchases in Postgres,  none refused
It also counts the records that were set aside (dead letters) and the acknowledged work that Redis lost before Postgres had it (table lost_work). These are reports, no differences: nothing can be compared any more.

It may be run during a sale. The two sides cannot be read in the same instant, so a drop that changes meanwhile is read again a few times; one that never keeps still is "busy", and only what holds at every moment is judged of it. Exit status: 0 no difference, 1 a difference.`
}

// auditTries is how often a difference, or a drop that changes while it is read, is
// looked at again.
const auditTries = 10

// Run audits.
func (c *auditCommand) Run(ctx context.Context, log *slog.Logger) error {
	err := c.validate()
	if c.Every < 100*time.Millisecond {
		err = errors.Join(err, fmt.Errorf("--every: %v is less than 100ms", c.Every))
	}
	if err != nil {
		return err
	}
	s, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer s.close()
	auditor, err := persist.NewAuditor(persist.AuditorConfig{Engine: s.engine, Store: s.store})
	if err != nil {
		return err
	}
	for {
		report, err := auditor.Patiently(ctx, auditTries)
		if err != nil {
			return err
		}
		if err := c.print(os.Stdout, report); err != nil {
			return err
		}
		if c.Watch {
			select {
			case <-ctx.Done():
			case <-time.After(c.Every):
				continue
			}
		}
		if report.Differences > 0 {
			return errDiffers
		}
		return nil
	}
}

func (c *auditCommand) print(to io.Writer, r persist.Audit) error {
	if c.JSON {
		return json.NewEncoder(to).Encode(r)
	}
	if c.Watch {
		_, _ = fmt.Fprintf(to, "\n%s\n", r.At.Format(time.RFC3339))
	}
	if err := printAudit(to, r.Lines); err != nil {
		return err
	}
	if r.DeadLetters > 0 {
		_, _ = fmt.Fprintf(to, "\n%d records in the dead-letter streams.\n", r.DeadLetters)
	}
	if len(r.Fenced) > 0 {
		_, _ = fmt.Fprintf(to, "\nFenced partitions: %v.\n", r.Fenced)
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Lost)) {
		_, _ = fmt.Fprintf(to, "\nLost by Redis after it was acknowledged: %d of kind %s; see the table lost_work.\n", r.Lost[kind], kind)
	}
	if r.Differences > 0 {
		_, err := fmt.Fprintf(to, "\n%d of %d lines differ.\n", r.Differences, len(r.Lines))
		return err
	}
	_, err := fmt.Fprintf(to, "\n%d lines, no difference.\n", len(r.Lines))
	return err
}

func printAudit(to io.Writer, lines []persist.AuditLine) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "\tRedis\t\t\t\t\t\tPostgres\t\t\t\t")
	_, _ = fmt.Fprintln(w, "drop size\ttotal\tavailable\theld\tsold\tlive holds\tpending\ttotal\tsold\tpurchases\trefused\t")
	for _, l := range lines {
		verdict := l.Problem()
		switch {
		case verdict == "" && l.Busy:
			verdict = "busy"
		case verdict == "":
			verdict = "ok"
		}
		r, p := l.Redis, l.Postgres
		_, _ = fmt.Fprintf(w, "%d %s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t  %s\n",
			p.Drop, p.Size, r.Total, r.Available, r.Held, r.Sold, l.Tally.Holds, l.Tally.Pending,
			p.Total, p.Sold, p.Purchases, p.Refused, verdict)
	}
	return w.Flush()
}
