package persist

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/engine"
)

// written is what a transaction of ends changed.
type written struct {
	reservations map[engine.Status]int64 // rows inserted
	purchases    int64                   // rows inserted
}

// writeEnds brings the ends to Postgres in one transaction and one round
// trip; what is there already is left alone, so that it may be repeated at
// will. ends must be sorted by id and name each id once. It returns
// ErrStaleEpoch, and writes nothing, where the partition is in another epoch. What
// out tells of it is in the same transaction.
//
// Row locks are taken in one order by all writers: the epoch, the sizes of drops that
// sell, then reservations, then purchases, each by key. So two writers with
// overlapping batches wait for each other but never deadlock.
func (s *Store) writeEnds(ctx context.Context, partition int, epoch int64, ends []engine.End, out outbox) (written, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()

	w := written{reservations: map[engine.Status]int64{}}
	all := columnsOf(ends)
	sold := columnsOf(completed(ends))
	batch := &pgx.Batch{} // sent without BEGIN: one implicit transaction

	batch.Queue(`SELECT require_epoch($1, $2)`, partition, epoch)
	if len(sold.ids) > 0 {
		batch.Queue(`
			SELECT FROM drop_sizes WHERE drop_id = ANY ($1::bigint[])
			ORDER BY drop_id, size FOR NO KEY UPDATE`, sold.drops)
	}
	batch.Queue(`
		WITH added AS (
			INSERT INTO reservations (id, drop_id, user_id, size, status, created_at, deadline, ended_at)
			SELECT id, drop_id, user_id, size, status, `+at("created")+`, `+at("deadline")+`, `+at("ended")+`
			FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[],
				$6::bigint[], $7::bigint[], $8::bigint[])
				AS e (id, drop_id, user_id, size, status, created, deadline, ended)
			ORDER BY id
			ON CONFLICT (id) DO NOTHING
			RETURNING status`+out.also(`, id, drop_id, user_id, size, created_at, deadline, ended_at`)+`)`+out.also(expired)+`
		SELECT status, count(*) FROM added GROUP BY status`,
		out.args(all.ids, all.drops, all.users, all.sizes, all.statuses, all.created, all.deadlines, all.ended)...,
	).Query(func(rows pgx.Rows) error {
		var status engine.Status
		var n int64
		_, err := pgx.ForEachRow(rows, []any{&status, &n}, func() error {
			w.reservations[status] = n
			return nil
		})
		return err
	})
	if len(sold.ids) > 0 {
		// The counters rise by the rows really inserted. A unit of a drop
		// without sizes comes from its one pool, whatever size was asked for.
		// The pool of an unknown drop or size is refused by the foreign key.
		batch.Queue(`
			WITH added AS (
				INSERT INTO purchases (id, drop_id, user_id, size, pool, purchased_at)
				SELECT e.id, e.drop_id, e.user_id, e.size,
					CASE WHEN d.sized IS NOT FALSE THEN e.size ELSE '' END, `+at("e.ended")+`
				FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[])
					AS e (id, drop_id, user_id, size, ended)
				LEFT JOIN drops AS d ON d.id = e.drop_id
				WHERE NOT EXISTS (SELECT FROM refused_purchases AS r WHERE r.id = e.id)
				ORDER BY e.id
				ON CONFLICT (id) DO NOTHING
				RETURNING drop_id, pool`+out.also(`, id, user_id, size, purchased_at`)+`),
			sums AS (
				SELECT drop_id, pool, count(*) AS n FROM added GROUP BY drop_id, pool),
			counted AS (
				UPDATE drop_sizes AS s SET sold = s.sold + sums.n
				FROM sums WHERE s.drop_id = sums.drop_id AND s.size = sums.pool`+out.also(`
				RETURNING s.drop_id, s.size, s.sold, s.total_stock + s.coming AS stock`)+`)`+out.also(purchased)+`
			SELECT coalesce(sum(n), 0)::bigint FROM sums`,
			out.args(sold.ids, sold.drops, sold.users, sold.sizes, sold.ended)...,
		).QueryRow(func(row pgx.Row) error { return row.Scan(&w.purchases) })
	}
	err := s.pool.SendBatch(ctx, batch).Close()
	return w, wrap("write ended reservations", err)
}

// contradicted gives the ids under which Postgres already has a purchase that
// says something else: another person, drop or size. Redis must have handed
// out an id twice.
func (s *Store) contradicted(ctx context.Context, ends []engine.End) ([]int64, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	sold := columnsOf(completed(ends))
	rows, err := s.pool.Query(ctx, `
		SELECT p.id
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) AS e (id, drop_id, user_id, size)
		JOIN purchases AS p ON p.id = e.id
		WHERE (p.drop_id, p.user_id, p.size) IS DISTINCT FROM (e.drop_id, e.user_id, e.size)`,
		sold.ids, sold.drops, sold.users, sold.sizes)
	if err != nil {
		return nil, wrap("compare purchases", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	return ids, wrap("compare purchases", err)
}

// refuse records a purchase that the guard on sold refused. Repeating it
// changes nothing; added is true the first time.
func (s *Store) refuse(ctx context.Context, e engine.End, reason string) (added bool, err error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	err = s.pool.QueryRow(ctx, `
		WITH reservation AS (
			INSERT INTO reservations (id, drop_id, user_id, size, status, created_at, deadline, ended_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
			ON CONFLICT (id) DO NOTHING),
		added AS (
			INSERT INTO refused_purchases (id, drop_id, user_id, size, created_at, deadline, purchased_at, reason)
			VALUES ($1, $2, $3, $4, $6, $7, $8, $9)
			ON CONFLICT (id) DO NOTHING
			RETURNING id)
		SELECT EXISTS (SELECT FROM added)`,
		e.ID, e.Drop, e.User, e.Size, StatusRefused, e.Created, e.Deadline, e.Ended, reason,
	).Scan(&added)
	return added, wrap(fmt.Sprintf("record refused purchase %d", e.ID), err)
}

// at is the SQL for a moment given in Unix milliseconds. The conversion is
// the server's, since it refuses what it can not hold.
func at(column string) string {
	return `'epoch'::timestamptz + ` + column + ` * interval '1 millisecond'`
}

func completed(ends []engine.End) []engine.End {
	return slices.DeleteFunc(slices.Clone(ends), func(e engine.End) bool {
		return e.Status != engine.StatusCompleted
	})
}

// columns are ends turned on their side, as unnest wants them.
type columns struct {
	ids, drops, users         []int64
	sizes, statuses           []string
	created, deadlines, ended []int64 // Unix milliseconds
}

func columnsOf(ends []engine.End) columns {
	var c columns
	for _, e := range ends {
		c.ids = append(c.ids, e.ID)
		c.drops = append(c.drops, e.Drop)
		c.users = append(c.users, e.User)
		c.sizes = append(c.sizes, e.Size)
		c.statuses = append(c.statuses, string(e.Status))
		c.created = append(c.created, e.Created.UnixMilli())
		c.deadlines = append(c.deadlines, e.Deadline.UnixMilli())
		c.ended = append(c.ended, e.Ended.UnixMilli())
	}
	return c
}
