package persist

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/engine"
)

// ErrStaleEpoch says that the partition is in another epoch; nothing was written.
var ErrStaleEpoch = errors.New("partition is in another epoch")

// staleEpoch is the SQLSTATE that require_epoch raises.
const staleEpoch = "HF001"

// Epochs are the epochs of one partition.
type Epochs struct {
	Epoch    int64 // raised last
	Admitted int64 // served last, as far as is known
	// Orphaned says that the epoch was raised longer ago than any rebuild takes
	// and is not served: the rebuild has died.
	Orphaned bool
}

// orphaned is the SQL for Epochs.Orphaned.
const orphaned = `admitted < epoch AND now() - raised_at > interval '30 seconds'`

// Epochs gives the epochs of a partition; zeros for one that never had any.
func (s *Store) Epochs(ctx context.Context, partition int) (Epochs, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var e Epochs
	err := s.pool.QueryRow(ctx, `SELECT epoch, admitted, `+orphaned+` FROM epochs WHERE partition = $1`, partition).Scan(&e.Epoch, &e.Admitted, &e.Orphaned)
	if errors.Is(err, pgx.ErrNoRows) {
		return e, nil
	}
	return e, wrap(fmt.Sprintf("epochs of partition %d", partition), err)
}

// allEpochs gives the epochs of all partitions that have any.
func (s *Store) allEpochs(ctx context.Context) (map[int]Epochs, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, `SELECT partition, epoch, admitted, `+orphaned+` FROM epochs`)
	if err != nil {
		return nil, wrap("read epochs", err)
	}
	all := map[int]Epochs{}
	var p int
	var e Epochs
	_, err = pgx.ForEachRow(rows, []any{&p, &e.Epoch, &e.Admitted, &e.Orphaned}, func() error {
		all[p] = e
		return nil
	})
	return all, wrap("read epochs", err)
}

// raiseEpoch raises the epoch of a partition from one number to another; from
// then on writers of the epochs before commit nothing. It returns
// ErrStaleEpoch where somebody has raised it already.
func (s *Store) raiseEpoch(ctx context.Context, partition int, from, to int64) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	tag, err := s.pool.Exec(ctx, `
		INSERT INTO epochs AS e (partition, epoch) VALUES ($1, $3)
		ON CONFLICT (partition) DO UPDATE SET epoch = $3, raised_at = now() WHERE e.epoch = $2`, partition, from, to)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrStaleEpoch
	}
	return wrap(fmt.Sprintf("raise the epoch of partition %d to %d", partition, to), err)
}

// admitted notes that Redis serves the epoch.
func (s *Store) admitted(ctx context.Context, partition int, epoch int64) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	_, err := s.pool.Exec(ctx, `UPDATE epochs SET admitted = $2 WHERE partition = $1 AND admitted < $2`, partition, epoch)
	return wrap(fmt.Sprintf("note epoch %d of partition %d", epoch, partition), err)
}

// raiseSeqFloor moves the floor of a drop's sequence numbers up by margin, from
// the greatest of itself, of what Postgres knows, and of seen.
func (s *Store) raiseSeqFloor(ctx context.Context, drop, seen, margin int64) (floor int64, err error) {
	last, err := s.LastSeq(ctx, drop)
	if err != nil {
		return 0, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	err = s.pool.QueryRow(ctx, `
		UPDATE drops SET seq_floor = greatest(seq_floor, $2::bigint) + $3::bigint WHERE id = $1::bigint RETURNING seq_floor`,
		drop, max(last, seen), margin).Scan(&floor)
	return floor, wrap(fmt.Sprintf("raise the ids of drop %d", drop), err)
}

// purchasePage is how many purchases are read at once.
const purchasePage = 10_000

// eachPurchase goes through the purchases of a drop by rising id, a page at a time.
func (s *Store) eachPurchase(ctx context.Context, drop int64, page func([]engine.End) error) error {
	for after, end := engine.ReservationID(drop, 0), engine.ReservationID(drop+1, 0); ; {
		list, err := s.purchases(ctx, after, end)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return nil
		}
		if err := page(list); err != nil {
			return err
		}
		after = list[len(list)-1].ID
	}
}

func (s *Store) purchases(ctx context.Context, after, end int64) ([]engine.End, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	// Reservations are looked up one by one: without statistics, as in a database
	// just restored, the planner would read all of them for every page.
	rows, err := s.pool.Query(ctx, `
		SELECT p.id, p.drop_id, p.user_id, p.size, p.purchased_at,
			coalesce(r.created_at, p.purchased_at), coalesce(r.deadline, p.purchased_at)
		FROM (SELECT * FROM purchases WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3) AS p
		LEFT JOIN LATERAL (SELECT created_at, deadline FROM reservations WHERE id = p.id LIMIT 1) AS r ON true
		ORDER BY p.id`, after, end, purchasePage)
	if err != nil {
		return nil, wrap("read purchases", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (engine.End, error) {
		e := engine.End{Status: engine.StatusCompleted}
		err := row.Scan(&e.ID, &e.Drop, &e.User, &e.Size, &e.Ended, &e.Created, &e.Deadline)
		return e, err
	})
	return list, wrap("read purchases", err)
}

// ended gives those of the reservations that Postgres knows to have ended,
// other than by a purchase.
func (s *Store) ended(ctx context.Context, ids []int64) ([]int64, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, `
		SELECT id FROM reservations AS r WHERE id = ANY($1::bigint[])
			AND NOT EXISTS (SELECT FROM purchases AS p WHERE p.id = r.id)`, ids)
	if err != nil {
		return nil, wrap("read ended reservations", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	return list, wrap("read ended reservations", err)
}

// sold gives the purchases of a drop by pool: size, or empty on a drop without.
func (s *Store) sold(ctx context.Context, drop int64) (map[string]int64, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, `SELECT size, sold FROM drop_sizes WHERE drop_id = $1::bigint`, drop)
	if err != nil {
		return nil, wrap("read sold counters", err)
	}
	sold := map[string]int64{}
	var size string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&size, &n}, func() error {
		sold[size] = n
		return nil
	})
	return sold, wrap("read sold counters", err)
}
