package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// statement sells with one statement a request, which is its own transaction:
// the drop's row is locked no longer than the commit takes.
type statement struct{ db *database }

func (s *statement) reserve(ctx context.Context, d drop, user int64) (h hold, err error) {
	if time.Now().Before(d.start) { // the clock is Postgres's own: the same machine
		return h, errNotStarted
	}
	h = hold{drop: d.id, user: user}
	if h.id, err = s.db.ids.take(ctx); err != nil {
		return h, err
	}
	err = s.db.pool.QueryRow(ctx, `
		WITH taken AS (UPDATE drops SET available = available - 1 WHERE id = $2 AND available > 0 RETURNING hold)
		INSERT INTO reservations (id, drop_id, user_id, created_at, expires_at)
		SELECT $1, $2, $3, now(), now() + hold FROM taken
		RETURNING created_at, expires_at`, h.id, h.drop, h.user).Scan(&h.created, &h.deadline)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errOutOfStock
	}
	return h, err
}

func (s *statement) purchase(ctx context.Context, id int64) (receipt, error) {
	r := receipt{id: id}
	err := s.db.pool.QueryRow(ctx, `
		WITH ended AS (DELETE FROM reservations WHERE id = $1 AND expires_at > now() RETURNING id, drop_id, user_id)
		INSERT INTO purchases (id, drop_id, user_id, purchased_at)
		SELECT id, drop_id, user_id, now() FROM ended
		RETURNING drop_id, user_id, purchased_at`, id).Scan(&r.drop, &r.user, &r.at)
	if errors.Is(err, pgx.ErrNoRows) {
		return s.db.ended(ctx, id)
	}
	return r, err
}
