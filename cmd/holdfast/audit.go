package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

type auditCommand struct {
	storeFlags
}

// Help is shown by --help.
func (*auditCommand) Help() string {
	return `Prints a line for every size of every drop: Redis's counters, the live holds counted one by one, the purchases in the ledger that are not in Postgres yet, and what Postgres has. It changes nothing.

A line is right when
  available + held + sold = total                     (conservation in Redis)
  held                    = live holds
  sold in Redis           = purchases in Postgres + pending
  sold in Postgres        = purchases in Postgres,  none refused
It may be run during a sale: a line that differs is read again a few times, since the two sides are not read in the same instant. Exit status: 0 all right, 1 a difference.`
}

// auditTries is how often a difference is looked at again before it counts:
// under load the sides drift by what happens between two reads.
const (
	auditTries = 10
	auditPause = 200 * time.Millisecond
)

// Run audits.
func (c *auditCommand) Run(ctx context.Context, log *slog.Logger) error {
	if err := c.validate(); err != nil {
		return err
	}
	s, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer s.close()
	var lines []auditLine
	for try := range auditTries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(auditPause):
			}
		}
		if lines, err = s.audit(ctx); err != nil {
			return err
		}
		if differences(lines) == 0 {
			break
		}
	}
	if err := printAudit(os.Stdout, lines); err != nil {
		return err
	}
	if n := differences(lines); n > 0 {
		fmt.Printf("\n%d of %d lines differ.\n", n, len(lines))
		return errDiffers
	}
	fmt.Printf("\n%d lines, no difference.\n", len(lines))
	return nil
}

// auditLine is one size of one drop, as both sides count it.
type auditLine struct {
	postgres persist.Count
	redis    engine.SizeCount
	inRedis  bool
	tally    engine.Tally
}

// problem says what is wrong with the line; empty if nothing is.
func (l auditLine) problem() string {
	if !l.inRedis {
		return "not in Redis"
	}
	var all []string
	for _, check := range []struct {
		wrong bool
		says  string
	}{
		{l.redis.Available+l.redis.Held+l.redis.Sold != l.redis.Total, "available + held + sold is not total"},
		{l.redis.Total != l.postgres.Total, "totals differ"},
		{l.redis.Held != l.tally.Holds, "held is not the number of live holds"},
		{l.postgres.Sold != l.postgres.Purchases, "Postgres's counter is not its number of purchases"},
		{l.postgres.Refused > 0, "Postgres refused purchases"},
		{l.redis.Sold != l.postgres.Purchases+l.tally.Pending, "sold in Redis is not purchases + pending"},
	} {
		if check.wrong {
			all = append(all, check.says)
		}
	}
	return strings.Join(all, "; ")
}

func differences(lines []auditLine) (n int) {
	for _, l := range lines {
		if l.problem() != "" {
			n++
		}
	}
	return n
}

func (s *stores) audit(ctx context.Context) ([]auditLine, error) {
	counts, err := s.store.Counts(ctx)
	if err != nil {
		return nil, err
	}
	var drops []int64
	for i, c := range counts {
		if i == 0 || counts[i-1].Drop != c.Drop {
			drops = append(drops, c.Drop)
		}
	}
	tallies, err := s.engine.Tallies(ctx)
	if err != nil {
		return nil, err
	}
	stock, err := s.engine.Stock(ctx, drops)
	if err != nil {
		return nil, err
	}
	live := map[engine.TallyKey]engine.SizeCount{}
	pools := map[engine.TallyKey]engine.Tally{} // by pool
	for i, st := range stock {
		if st != nil {
			for _, c := range st.Sizes {
				live[engine.TallyKey{Drop: drops[i], Size: c.Size}] = c
			}
		}
	}
	for key, t := range tallies {
		if _, sized := live[key]; !sized {
			key.Size = "" // a drop without sizes draws on the one pool
		}
		p := pools[key]
		p.Holds += t.Holds
		p.Pending += t.Pending
		pools[key] = p
	}
	lines := make([]auditLine, len(counts))
	for i, c := range counts {
		key := engine.TallyKey{Drop: c.Drop, Size: c.Size}
		lines[i] = auditLine{postgres: c, tally: pools[key]}
		lines[i].redis, lines[i].inRedis = live[key]
	}
	return lines, nil
}

func printAudit(to io.Writer, lines []auditLine) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "\tRedis\t\t\t\t\t\tPostgres\t\t\t\t")
	_, _ = fmt.Fprintln(w, "drop size\ttotal\tavailable\theld\tsold\tlive holds\tpending\ttotal\tsold\tpurchases\trefused\t")
	for _, l := range lines {
		verdict := l.problem()
		if verdict == "" {
			verdict = "ok"
		}
		r, p := l.redis, l.postgres
		_, _ = fmt.Fprintf(w, "%d %s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t  %s\n",
			p.Drop, p.Size, r.Total, r.Available, r.Held, r.Sold, l.tally.Holds, l.tally.Pending,
			p.Total, p.Sold, p.Purchases, p.Refused, verdict)
	}
	return w.Flush()
}
