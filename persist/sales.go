package persist

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/engine"
)

// Sale is one purchase with who made it.
type Sale struct {
	ID        int64 // of the purchase, which is that of the reservation
	User      int64
	Username  string
	Email     string // empty: none
	Size      string
	Purchased time.Time
}

// SalesPage is how many sales Sales gives at most.
const SalesPage = 2000

// Sales gives the sales of a drop by rising id, those above after: a page.
func (s *Store) Sales(ctx context.Context, drop, after int64) ([]Sale, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, `
		SELECT p.id, p.user_id, u.username, coalesce(u.email, ''), p.size, p.purchased_at
		FROM (SELECT * FROM purchases WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3) AS p
		JOIN users AS u ON u.id = p.user_id ORDER BY p.id`,
		max(after, engine.ReservationID(drop, 0)), engine.ReservationID(drop+1, 0), SalesPage)
	if err != nil {
		return nil, wrap("read sales", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Sale])
	return list, wrap("read sales", err)
}
