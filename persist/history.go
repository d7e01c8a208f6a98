package persist

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/engine"
)

// StatusRefused is the status of a reservation whose purchase Redis accepted
// and Postgres refused, because the drop had no unit left to sell: the person
// holds a receipt for nothing, and an operator has to settle it.
const StatusRefused engine.Status = "refused"

// Reservation is an ended hold as Postgres knows it.
type Reservation struct {
	// Status is StatusRefused or one of the engine's final statuses.
	engine.Reservation
	// Confirmed says that the purchase is committed.
	Confirmed bool
}

// Reservation gives an ended hold. Returns ErrNotFound for one that is still
// active, or has ended so lately that the writer has not brought it yet.
func (s *Store) Reservation(ctx context.Context, id int64) (Reservation, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	r := Reservation{Reservation: engine.Reservation{ID: id}}
	err := s.pool.QueryRow(ctx, `
		SELECT r.drop_id, r.user_id, r.size, r.created_at, r.deadline,
			coalesce(p.purchased_at, r.ended_at),
			CASE WHEN p.id IS NULL THEN r.status ELSE 'completed' END, p.id IS NOT NULL
		FROM reservations AS r LEFT JOIN purchases AS p ON p.id = r.id
		WHERE r.id = $1`, id,
	).Scan(&r.Drop, &r.User, &r.Size, &r.Created, &r.Deadline, &r.Ended, &r.Status, &r.Confirmed)
	if err != nil {
		return Reservation{}, wrap(fmt.Sprintf("reservation %d", id), err)
	}
	r.Created, r.Deadline, r.Ended = r.Created.UTC(), r.Deadline.UTC(), r.Ended.UTC()
	return r, nil
}

// LastSeq is the greatest sequence number of the drop's holds that Postgres
// knows, zero if there is none: a drop opened again begins above it.
// Holds that were live, or still in the ledger, are not in it.
func (s *Store) LastSeq(ctx context.Context, drop int64) (int64, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	base := engine.ReservationID(drop, 0)
	var last int64
	err := s.pool.QueryRow(ctx, `
		SELECT greatest($1,
			(SELECT max(id) FROM reservations WHERE id >= $1 AND id < $2),
			(SELECT max(id) FROM purchases WHERE id >= $1 AND id < $2),
			(SELECT max(id) FROM refused_purchases WHERE id >= $1 AND id < $2))`,
		base, engine.ReservationID(drop+1, 0)).Scan(&last)
	if err != nil {
		return 0, wrap(fmt.Sprintf("last reservation of drop %d", drop), err)
	}
	return last - base, nil
}

// Count is what Postgres knows of one size of a drop. Sold and Purchases
// differ only if a foreign hand was in the database.
type Count struct {
	Drop      int64
	Size      string // empty on a drop without sizes
	Opened    bool   // false: its creation was cut short, or is under way
	Total     int64
	Sold      int64 // the counter
	Purchases int64 // the rows
	Refused   int64 // purchases that the guard refused
	Changing  bool  // a change of the drop is under way: Redis may have it already
}

// Counts gives every size of every drop at one moment, by drop and in the
// order of sizes. It reads all purchases and may take minutes: bound it by ctx.
func (s *Store) Counts(ctx context.Context) ([]Count, error) {
	const patience = 10 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var counts []Count
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `SELECT set_config('statement_timeout', $1, true)`, milliseconds(patience))
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			SELECT s.drop_id, s.size, o.opened_at IS NOT NULL, s.total_stock, s.sold, coalesce(p.n, 0), coalesce(r.n, 0),
				EXISTS (SELECT FROM drop_changes AS c WHERE c.drop_id = s.drop_id AND c.outcome IS NULL)
			FROM drop_sizes AS s
			JOIN drops AS o ON o.id = s.drop_id
			LEFT JOIN (
				SELECT drop_id, pool, count(*) AS n FROM purchases GROUP BY 1, 2
			) AS p ON p.drop_id = s.drop_id AND p.pool = s.size
			LEFT JOIN (
				SELECT f.drop_id, CASE WHEN d.sized THEN f.size ELSE '' END AS pool, count(*) AS n
				FROM refused_purchases AS f JOIN drops AS d ON d.id = f.drop_id GROUP BY 1, 2
			) AS r ON r.drop_id = s.drop_id AND r.pool = s.size
			ORDER BY s.drop_id, s.position`)
		if err != nil {
			return err
		}
		counts, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Count])
		return err
	})
	return counts, wrap("count purchases", err)
}
