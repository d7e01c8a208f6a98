package persist

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/engine"
)

// Lost is work that was acknowledged to somebody and that Redis lost before it
// reached Postgres.
type Lost struct {
	ID      int64     `json:"id"` // of the reservation
	Kind    string    `json:"kind"`
	Drop    int64     `json:"drop"`
	User    int64     `json:"user"`
	Size    string    `json:"size"`
	Created time.Time `json:"created"`
	Reason  string    `json:"reason"`
	Found   time.Time `json:"found"`
}

// The kinds of lost work.
const (
	LostHold     = "hold"     // somebody was told to have a unit, and has none
	LostPurchase = "purchase" // somebody was told to have bought, and has not
	LostCancel   = "cancel"   // somebody gave a unit back, and it came back later
	LostRevoked  = "revoked"  // a hold whose unit had been sold to another
)

func lostKind(r engine.Reservation) string {
	switch r.Status {
	case engine.StatusCompleted:
		return LostPurchase
	case engine.StatusCancelled, engine.StatusExpired:
		return LostCancel
	case engine.StatusActive:
	}
	return LostHold
}

// reportLost keeps what Redis lost, unless Postgres knows of it after all, and
// gives what is new, by kind. kind is empty for what the status says.
func (s *Store) reportLost(ctx context.Context, lost []engine.Reservation, kind, reason string) (map[string]int64, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	c := columnsOf(lost)
	kinds := make([]string, len(lost))
	for i, r := range lost {
		if kinds[i] = kind; kind == "" {
			kinds[i] = lostKind(r)
		}
		if r.Ended.IsZero() {
			c.ended[i] = 0
		}
	}
	rows, err := s.pool.Query(ctx, `
		WITH added AS (
			INSERT INTO lost_work (id, kind, drop_id, user_id, size, created_at, deadline, ended_at, reason)
			SELECT e.id, e.kind, e.drop_id, e.user_id, e.size, `+at("e.created")+`, `+at("e.deadline")+`,
				CASE WHEN e.ended > 0 THEN `+at("e.ended")+` END, $9
			FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[],
				$6::bigint[], $7::bigint[], $8::bigint[])
				AS e (id, kind, drop_id, user_id, size, created, deadline, ended)
			WHERE e.kind = 'revoked'
				OR (NOT EXISTS (SELECT FROM purchases AS p WHERE p.id = e.id)
					AND NOT EXISTS (SELECT FROM refused_purchases AS f WHERE f.id = e.id)
					AND NOT EXISTS (SELECT FROM reservations AS r
						WHERE r.id = e.id AND (e.kind = 'hold' OR (e.kind = 'cancel' AND r.status <> 'completed'))))
			ON CONFLICT DO NOTHING
			RETURNING kind)
		SELECT kind, count(*) FROM added GROUP BY kind`,
		c.ids, kinds, c.drops, c.users, c.sizes, c.created, c.deadlines, c.ended, reason)
	if err != nil {
		return nil, wrap("report lost work", err)
	}
	added := map[string]int64{}
	var what string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&what, &n}, func() error {
		added[what] = n
		return nil
	})
	return added, wrap("report lost work", err)
}

// stillLost leaves out what was made good: bought again from a hold that an
// older Redis still had.
const stillLost = `NOT (l.kind IN ('hold', 'purchase') AND EXISTS (SELECT FROM purchases AS p WHERE p.id = l.id))`

// maxLost is the most lost work that is listed.
const maxLost = 1000

// LostWork lists what Redis lost and was not made good since, the newest first, at most 1,000.
func (s *Store) LostWork(ctx context.Context) ([]Lost, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, `
		SELECT id, kind, drop_id, user_id, size, created_at, reason, found_at
		FROM lost_work AS l WHERE `+stillLost+` ORDER BY found_at DESC, id DESC LIMIT $1`, maxLost)
	if err != nil {
		return nil, wrap("read lost work", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Lost])
	return list, wrap("read lost work", err)
}

// LostCounts counts what Redis lost and was not made good since, by kind.
func (s *Store) LostCounts(ctx context.Context) (map[string]int64, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, `SELECT kind, count(*) FROM lost_work AS l WHERE `+stillLost+` GROUP BY kind`)
	if err != nil {
		return nil, wrap("count lost work", err)
	}
	counts := map[string]int64{}
	var kind string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&kind, &n}, func() error {
		counts[kind] = n
		return nil
	})
	return counts, wrap("count lost work", err)
}
