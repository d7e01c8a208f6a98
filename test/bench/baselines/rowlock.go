package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// rowlock sells as most shops do, and as the server did that Holdfast
// replaces: each reserve is a transaction that locks the drop's row, looks
// whether there is stock, adds the hold and counts the stock down.
type rowlock struct{ db *database }

func (s *rowlock) reserve(ctx context.Context, d drop, user int64) (h hold, err error) {
	h = hold{drop: d.id, user: user}
	if h.id, err = s.db.ids.take(ctx); err != nil {
		return h, err
	}
	err = pgx.BeginFunc(ctx, s.db.pool, func(tx pgx.Tx) error {
		var available int64
		var length time.Duration
		var now, start time.Time
		err := tx.QueryRow(ctx, `SELECT available, hold, start_time, clock_timestamp() FROM drops WHERE id = $1 FOR UPDATE`, d.id).
			Scan(&available, &length, &start, &now)
		switch {
		case err != nil:
			return err
		case now.Before(start):
			return errNotStarted
		case available < 1:
			return errOutOfStock
		}
		h.created, h.deadline = now, now.Add(length)
		if _, err := tx.Exec(ctx, `INSERT INTO reservations (id, drop_id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)`,
			h.id, h.drop, h.user, h.created, h.deadline); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE drops SET available = available - 1 WHERE id = $1`, d.id)
		return err
	})
	return h, err
}

func (s *rowlock) purchase(ctx context.Context, id int64) (receipt, error) {
	r := receipt{id: id}
	err := pgx.BeginFunc(ctx, s.db.pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `SELECT drop_id, user_id, clock_timestamp() FROM reservations
			WHERE id = $1 AND expires_at > clock_timestamp() FOR UPDATE`, id).Scan(&r.drop, &r.user, &r.at)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM reservations WHERE id = $1`, id); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO purchases (id, drop_id, user_id, purchased_at) VALUES ($1, $2, $3, $4)`, id, r.drop, r.user, r.at)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return s.db.ended(ctx, id)
	}
	return r, err
}
