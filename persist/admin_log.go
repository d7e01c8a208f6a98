package persist

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/engine"
)

// By says who asks for something, for the log of what operators did.
type By struct {
	Who       string // "admin", "cli"
	RequestID string // empty where there is none
	Address   string // likewise
}

// Act is one entry of that log.
type Act struct {
	ID     int64
	At     time.Time
	By     By
	Action string // what was done: create, change, release, …
	Drop   int64  // 0: none in particular
	// Before and After are JSON. After is empty where it is not known what came of it.
	Before, After json.RawMessage
}

// NewAct is one that is to be written.
type NewAct struct {
	By            By
	Action        string
	Drop          int64 // 0: none in particular
	Before, After any   // written as JSON; nil: none
}

// WriteAct adds an entry and gives its id. Where the outcome comes later,
// EndAct adds it.
func (s *Store) WriteAct(ctx context.Context, a NewAct) (id int64, err error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	return writeAct(ctx, s.pool, a)
}

// EndAct notes what came of an act.
func (s *Store) EndAct(ctx context.Context, id int64, after any) error {
	text, err := jsonText(after)
	if err != nil {
		return err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	_, err = s.pool.Exec(ctx, `UPDATE admin_log SET after = $2::jsonb WHERE id = $1`, id, text)
	return wrap(fmt.Sprintf("end act %d", id), err)
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func writeAct(ctx context.Context, q querier, a NewAct) (id int64, err error) {
	before, err := jsonText(a.Before)
	if err != nil {
		return 0, err
	}
	after, err := jsonText(a.After)
	if err != nil {
		return 0, err
	}
	err = q.QueryRow(ctx, `
		INSERT INTO admin_log (who, action, drop_id, before, after, request_id, address)
		VALUES ($1, $2, nullif($3::bigint, 0), $4::jsonb, $5::jsonb, $6, $7) RETURNING id`,
		a.By.Who, a.Action, a.Drop, before, after, a.By.RequestID, a.By.Address).Scan(&id)
	return id, wrap("write the admin log", err)
}

// jsonText is nil for nil.
func jsonText(v any) (*string, error) {
	if v == nil {
		return nil, nil //nolint:nilnil // NULL is a value here
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("admin log: %w", err)
	}
	s := string(text)
	return &s, nil
}

// ActsQuery asks for a page of the log.
type ActsQuery struct {
	// Limit is the number of entries, at most 1,000. Defaults to 100.
	Limit int
	// Before leaves out this id and all above it. Defaults to none left out.
	Before int64
	// Drop has only those of one drop. Defaults to all.
	Drop int64
}

// Acts lists what operators did, the newest first.
func (s *Store) Acts(ctx context.Context, q ActsQuery) ([]Act, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if q.Limit <= 0 {
		q.Limit = defaultDrops
	}
	rows, err := s.pool.Query(ctx, `
		SELECT id, at, who, request_id, address, action, coalesce(drop_id, 0), before, after
		FROM admin_log
		WHERE ($1::bigint = 0 OR id < $1) AND ($2::bigint = 0 OR drop_id = $2)
		ORDER BY id DESC LIMIT $3`, q.Before, q.Drop, min(q.Limit, maxDrops))
	if err != nil {
		return nil, wrap("read the admin log", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Act, error) {
		var a Act
		err := row.Scan(&a.ID, &a.At, &a.By.Who, &a.By.RequestID, &a.By.Address, &a.Action, &a.Drop, &a.Before, &a.After)
		a.At = a.At.UTC()
		return a, err
	})
	return list, wrap("read the admin log", err)
}

// actTerms are the terms of a drop as the log has them.
type actTerms struct {
	State      engine.State `json:"state"`
	Start      time.Time    `json:"start_time"`
	End        *time.Time   `json:"end_time"`
	Limit      int64        `json:"limit_per_customer"` // 0: none
	PriceMinor int64        `json:"price_minor"`
	Sizes      []actSize    `json:"sizes"`
}

type actSize struct {
	Size  string `json:"size"`
	Stock int64  `json:"stock"`
}

// LimitOf is a limit per customer as people see it: 0 for none.
func LimitOf(limit int64) int64 {
	if limit >= engine.NoLimit {
		return 0
	}
	return limit
}

// LogTerms are the terms of a drop as the log has them.
func (d Drop) LogTerms() any {
	t := actTerms{State: d.State, Start: d.Start, Limit: LimitOf(d.Limit), PriceMinor: d.PriceMinor}
	if !d.End.IsZero() {
		t.End = &d.End
	}
	for _, s := range d.Sizes {
		t.Sizes = append(t.Sizes, actSize{s.Size, s.Stock})
	}
	return t
}
