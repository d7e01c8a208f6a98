package persist

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// unsoldUnits are the units of a drop that are not sold, as the writer counts them:
// those that a change under way adds are among them.
func unsoldUnits(ctx context.Context, tx pgx.Tx, drop int64) (n int64, err error) {
	err = tx.QueryRow(ctx, `
		SELECT coalesce(sum(total_stock + coming - sold), 0)::bigint FROM drop_sizes WHERE drop_id = $1::bigint`, drop).Scan(&n)
	return n, err
}

// soldOutByChange tells of a drop that is sold out since a change of it has ended: its
// last units were taken away, or what was to come does not. Where none was left
// before, the writer has told of it.
func (o outbox) soldOutByChange(ctx context.Context, tx pgx.Tx, drop, unsoldBefore int64) error {
	if len(o.urls) == 0 || unsoldBefore == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `
		WITH events AS (
			INSERT INTO webhook_outbox (id, type, drop_id, total_stock, occurred_at)
			SELECT 'sold_out_' || drop_id || '_' || sum(total_stock) || '_' || (SELECT change FROM drops WHERE id = drop_id), '`+EventDropSoldOut+`', drop_id, sum(total_stock), now()
			FROM drop_sizes WHERE drop_id = $1::bigint AND '`+EventDropSoldOut+`' = ANY ($3::text[])
			GROUP BY drop_id HAVING sum(sold) = sum(total_stock + coming) AND sum(sold) > 0
			ON CONFLICT (id) DO NOTHING
			RETURNING id, type)
		INSERT INTO webhook_deliveries (event_id, url)
		SELECT e.id, s.url FROM events AS e JOIN unnest($2::text[], $3::text[]) AS s (url, type) ON s.type = e.type
		ON CONFLICT (event_id, url) DO NOTHING`, drop, o.urls, o.events)
	return err
}
