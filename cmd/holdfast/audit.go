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
	"strings"
	"text/tabwriter"
	"time"

	"github.com/holdfast/holdfast/engine"
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

// auditTries is how often a difference, or a drop that changes while it is
// read, is looked at again.
const (
	auditTries = 10
	auditPause = 200 * time.Millisecond
)

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
	for {
		report, err := s.auditPatiently(ctx)
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

// auditReport is one audit, as --json prints it.
type auditReport struct {
	At          time.Time        `json:"at"`
	Lines       []auditLine      `json:"lines"`
	Differences int              `json:"differences"`
	DeadLetters int64            `json:"dead_letters"`
	Fenced      []int            `json:"fenced_partitions"`
	Lost        map[string]int64 `json:"lost_work"` // by kind
}

// auditPatiently audits until nothing is busy or different, a few times at most.
func (s *stores) auditPatiently(ctx context.Context) (report auditReport, err error) {
	for try := range auditTries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return report, ctx.Err()
			case <-time.After(auditPause):
			}
		}
		if report.Lines, err = s.audit(ctx); err != nil {
			return report, err
		}
		report.Differences = differences(report.Lines)
		if report.Differences == 0 && !slices.ContainsFunc(report.Lines, func(l auditLine) bool { return l.busy }) {
			break
		}
	}
	report.At = time.Now().UTC()
	ledger, err := s.engine.LedgerInfo(ctx)
	if err != nil {
		return report, err
	}
	report.DeadLetters = ledger.Dead
	report.Fenced = append([]int{}, s.engine.Fenced()...)
	report.Lost, err = s.store.LostCounts(ctx)
	return report, err
}

func (c *auditCommand) print(to io.Writer, r auditReport) error {
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

// auditLine is one size of one drop, as both sides count it.
type auditLine struct {
	postgres   persist.Count
	inPostgres bool
	redis      engine.SizeCount
	inRedis    bool
	tally      engine.Tally
	busy       bool // it changed while it was read
}

// MarshalJSON gives the line as --json prints it.
func (l auditLine) MarshalJSON() ([]byte, error) {
	type counts map[string]int64
	return json.Marshal(struct {
		Drop     int64  `json:"drop"`
		Size     string `json:"size"`
		Redis    counts `json:"redis"`
		Postgres counts `json:"postgres"`
		Holds    int64  `json:"live_holds"`
		Pending  int64  `json:"pending_purchases"`
		Busy     bool   `json:"busy"`
		Problem  string `json:"problem"`
	}{
		l.postgres.Drop, l.postgres.Size,
		counts{"total": l.redis.Total, "available": l.redis.Available, "held": l.redis.Held, "sold": l.redis.Sold},
		counts{"total": l.postgres.Total, "sold": l.postgres.Sold, "purchases": l.postgres.Purchases, "refused": l.postgres.Refused},
		l.tally.Holds, l.tally.Pending, l.busy, l.problem(),
	})
}

// problem says what is wrong with the line; empty if nothing is.
func (l auditLine) problem() string {
	switch {
	case !l.inPostgres:
		return "not in Postgres"
	case !l.inRedis && !l.postgres.Opened:
		return "" // its creation failed, or is under way
	case !l.inRedis:
		return "not in Redis"
	}
	var all []string
	for _, check := range []struct {
		wrong bool
		says  string
	}{
		{l.redis.Available+l.redis.Held+l.redis.Sold != l.redis.Total, "available + held + sold is not total"},
		{min(l.redis.Available, l.redis.Held, l.redis.Sold) < 0, "a counter is below zero"},
		{l.redis.Total != l.postgres.Total, "totals differ"},
		{!l.busy && l.redis.Held != l.tally.Holds, "held is not the number of live holds"},
		{l.postgres.Sold != l.postgres.Purchases, "Postgres's counter is not its number of purchases"},
		{l.postgres.Refused > 0, "Postgres refused purchases"},
		{!l.busy && l.redis.Sold != l.postgres.Purchases+l.tally.Pending, "sold in Redis is not purchases + pending"},
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

// audit reads Redis, Postgres, and Redis again: what is the same before and
// after stood still, and is compared exactly.
func (s *stores) audit(ctx context.Context) ([]auditLine, error) {
	var drops []int64
	for d, err := range s.store.AllDrops(ctx) {
		if err != nil {
			return nil, err
		}
		drops = append(drops, d.ID)
	}
	before, err := s.redisSide(ctx, drops)
	if err != nil {
		return nil, err
	}
	counts, err := s.store.Counts(ctx)
	if err != nil {
		return nil, err
	}
	after, err := s.redisSide(ctx, drops)
	if err != nil {
		return nil, err
	}
	lines := make([]auditLine, 0, len(counts))
	for _, c := range counts {
		key := engine.TallyKey{Drop: c.Drop, Size: c.Size}
		count, inRedis := after.counts[key]
		lines = append(lines, auditLine{
			postgres: c, inPostgres: true, redis: count, inRedis: inRedis, tally: after.tallies[key],
			busy: before.versions[c.Drop] != after.versions[c.Drop] || before.tallies[key] != after.tallies[key],
		})
		delete(after.tallies, key)
	}
	for key, tally := range after.tallies { // holds and purchases of drops that Postgres does not have
		if !slices.Contains(drops, key.Drop) {
			lines = append(lines, auditLine{postgres: persist.Count{Drop: key.Drop, Size: key.Size}, tally: tally})
		}
	}
	return lines, nil
}

// redisSide is what Redis says of the drops, by pool.
type redisSide struct {
	versions map[int64]int64
	counts   map[engine.TallyKey]engine.SizeCount
	tallies  map[engine.TallyKey]engine.Tally
}

func (s *stores) redisSide(ctx context.Context, drops []int64) (redisSide, error) {
	side := redisSide{
		versions: map[int64]int64{},
		counts:   map[engine.TallyKey]engine.SizeCount{},
		tallies:  map[engine.TallyKey]engine.Tally{},
	}
	tallies, err := s.engine.Tallies(ctx)
	if err != nil {
		return side, err
	}
	stock, err := s.engine.Stock(ctx, drops)
	if err != nil {
		return side, err
	}
	for i, st := range stock {
		if st != nil {
			side.versions[drops[i]] = st.Version
			for _, c := range st.Sizes {
				side.counts[engine.TallyKey{Drop: drops[i], Size: c.Size}] = c
			}
		}
	}
	for key, t := range tallies {
		if _, sized := side.counts[key]; !sized {
			key.Size = "" // a drop without sizes draws on the one pool
		}
		pool := side.tallies[key]
		pool.Holds += t.Holds
		pool.Pending += t.Pending
		side.tallies[key] = pool
	}
	return side, nil
}

func printAudit(to io.Writer, lines []auditLine) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "\tRedis\t\t\t\t\t\tPostgres\t\t\t\t")
	_, _ = fmt.Fprintln(w, "drop size\ttotal\tavailable\theld\tsold\tlive holds\tpending\ttotal\tsold\tpurchases\trefused\t")
	for _, l := range lines {
		verdict := l.problem()
		switch {
		case verdict == "" && l.busy:
			verdict = "busy"
		case verdict == "":
			verdict = "ok"
		}
		r, p := l.redis, l.postgres
		_, _ = fmt.Fprintf(w, "%d %s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t  %s\n",
			p.Drop, p.Size, r.Total, r.Available, r.Held, r.Sold, l.tally.Holds, l.tally.Pending,
			p.Total, p.Sold, p.Purchases, p.Refused, verdict)
	}
	return w.Flush()
}
