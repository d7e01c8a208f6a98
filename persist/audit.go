package persist

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/holdfast/holdfast/engine"
)

// AuditorConfig configures an Auditor.
type AuditorConfig struct {
	// Engine is of the Redis that is compared. Required.
	Engine *engine.Engine
	// Store is compared with. Required.
	Store *Store
}

// Auditor compares Redis with Postgres, drop by drop and size by size. It changes
// nothing, and may be used while a sale goes on.
type Auditor struct{ cfg AuditorConfig }

// NewAuditor makes an Auditor.
func NewAuditor(cfg AuditorConfig) (*Auditor, error) {
	if cfg.Engine == nil || cfg.Store == nil {
		return nil, errors.New("persist: AuditorConfig.Engine and Store are required")
	}
	return &Auditor{cfg}, nil
}

// Audit is one audit.
type Audit struct {
	At          time.Time        `json:"at"`
	Lines       []AuditLine      `json:"lines"`
	Differences int              `json:"differences"`
	DeadLetters int64            `json:"dead_letters"`
	Fenced      []int            `json:"fenced_partitions"`
	Lost        map[string]int64 `json:"lost_work"` // by kind
}

// auditPause is the rest between two looks.
const auditPause = 200 * time.Millisecond

// Patiently audits until nothing is busy or different, at most so many times. The two
// sides cannot be read in the same instant: a line that stays busy is judged by what
// holds at every moment alone.
func (a *Auditor) Patiently(ctx context.Context, tries int) (report Audit, err error) {
	for try := range max(tries, 1) {
		if try > 0 {
			select {
			case <-ctx.Done():
				return report, ctx.Err()
			case <-time.After(auditPause):
			}
		}
		if report.Lines, err = a.read(ctx); err != nil {
			return report, err
		}
		report.Differences = differences(report.Lines)
		if report.Differences == 0 && !slices.ContainsFunc(report.Lines, func(l AuditLine) bool { return l.Busy }) {
			break
		}
	}
	report.At = time.Now().UTC()
	ledger, err := a.cfg.Engine.LedgerInfo(ctx)
	if err != nil {
		return report, err
	}
	report.DeadLetters = ledger.Dead
	report.Fenced = append([]int{}, a.cfg.Engine.Fenced()...)
	report.Lost, err = a.cfg.Store.LostCounts(ctx)
	return report, err
}

// AuditLine is one size of one drop, as both sides count it.
type AuditLine struct {
	Postgres   Count
	InPostgres bool
	Redis      engine.SizeCount
	InRedis    bool
	Tally      engine.Tally
	Busy       bool // it changed while it was read
}

// MarshalJSON gives the line as --json prints it.
func (l AuditLine) MarshalJSON() ([]byte, error) {
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
		l.Postgres.Drop, l.Postgres.Size,
		counts{"total": l.Redis.Total, "available": l.Redis.Available, "held": l.Redis.Held, "sold": l.Redis.Sold},
		counts{"total": l.Postgres.Total, "sold": l.Postgres.Sold, "purchases": l.Postgres.Purchases, "refused": l.Postgres.Refused},
		l.Tally.Holds, l.Tally.Pending, l.Busy, l.Problem(),
	})
}

// Problem says what is wrong with the line; empty if nothing is.
func (l AuditLine) Problem() string {
	switch {
	case !l.InPostgres:
		return "not in Postgres"
	case !l.InRedis && !l.Postgres.Opened:
		return "" // its creation failed, or is under way
	case !l.InRedis:
		return "not in Redis"
	}
	var all []string
	for _, check := range []struct {
		wrong bool
		says  string
	}{
		{l.Redis.Available+l.Redis.Held+l.Redis.Sold != l.Redis.Total, "available + held + sold is not total"},
		{min(l.Redis.Available, l.Redis.Held, l.Redis.Sold) < 0, "a counter is below zero"},
		{!l.Busy && l.Redis.Total != l.Postgres.Total, "totals differ"},
		{!l.Busy && l.Redis.Held != l.Tally.Holds, "held is not the number of live holds"},
		{l.Postgres.Sold != l.Postgres.Purchases, "Postgres's counter is not its number of purchases"},
		{l.Postgres.Refused > 0, "Postgres refused purchases"},
		{!l.Busy && l.Redis.Sold != l.Postgres.Purchases+l.Tally.Pending, "sold in Redis is not purchases + pending"},
	} {
		if check.wrong {
			all = append(all, check.says)
		}
	}
	return strings.Join(all, "; ")
}

func differences(lines []AuditLine) (n int) {
	for _, l := range lines {
		if l.Problem() != "" {
			n++
		}
	}
	return n
}

// read reads Redis, Postgres, and Redis again: what is the same before and
// after stood still, and is compared exactly.
func (a *Auditor) read(ctx context.Context) ([]AuditLine, error) {
	var drops []int64
	for d, err := range a.cfg.Store.AllDrops(ctx) {
		if err != nil {
			return nil, err
		}
		drops = append(drops, d.ID)
	}
	// The versions first: what happens from here on shows in those of after, also
	// between the two reads of before.
	stock, err := a.cfg.Engine.Stock(ctx, drops)
	if err != nil {
		return nil, err
	}
	versions := versionsOf(drops, stock)
	before, err := a.redisSide(ctx, drops)
	if err != nil {
		return nil, err
	}
	counts, err := a.cfg.Store.Counts(ctx)
	if err != nil {
		return nil, err
	}
	after, err := a.redisSide(ctx, drops)
	if err != nil {
		return nil, err
	}
	lines := make([]AuditLine, 0, len(counts))
	for _, c := range counts {
		key := engine.TallyKey{Drop: c.Drop, Size: c.Size}
		count, inRedis := after.counts[key]
		lines = append(lines, AuditLine{
			Postgres: c, InPostgres: true, Redis: count, InRedis: inRedis, Tally: after.tallies[key],
			Busy: c.Changing || versions[c.Drop] != after.versions[c.Drop] || before.tallies[key] != after.tallies[key],
		})
		delete(after.tallies, key)
	}
	for key, tally := range after.tallies { // holds and purchases of drops that Postgres does not have
		if !slices.Contains(drops, key.Drop) {
			lines = append(lines, AuditLine{Postgres: Count{Drop: key.Drop, Size: key.Size}, Tally: tally})
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

// versionsOf are those of the drops that Redis has.
func versionsOf(drops []int64, stock []*engine.Stock) map[int64]int64 {
	versions := map[int64]int64{}
	for i, st := range stock {
		if st != nil {
			versions[drops[i]] = st.Version
		}
	}
	return versions
}

func (a *Auditor) redisSide(ctx context.Context, drops []int64) (redisSide, error) {
	side := redisSide{
		counts:  map[engine.TallyKey]engine.SizeCount{},
		tallies: map[engine.TallyKey]engine.Tally{},
	}
	tallies, err := a.cfg.Engine.Tallies(ctx)
	if err != nil {
		return side, err
	}
	stock, err := a.cfg.Engine.Stock(ctx, drops)
	if err != nil {
		return side, err
	}
	side.versions = versionsOf(drops, stock)
	for i, st := range stock {
		if st != nil {
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
