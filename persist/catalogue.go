package persist

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/engine"
)

// NewDrop is what a drop is created with.
type NewDrop struct {
	Name       string
	PriceMinor int64 // in the smallest unit of the currency
	ImageURL   string
	Start      time.Time
	End        time.Time // zero: open end
	Hold       time.Duration
	Limit      int64 // units held and bought by one person; 0: no limit
	Challenge  bool  // a unit is held only for who has passed a challenge
	// Sizes in the order they are shown. One entry with the empty name is a
	// drop without sizes. Sold is ignored.
	Sizes []engine.SizeStock
}

// Drop is a drop of the catalogue.
type Drop struct {
	ID         int64
	Name       string
	PriceMinor int64 // in the smallest unit of the currency
	ImageURL   string
	TotalStock int64 // over all sizes
	Sized      bool
	Start      time.Time
	End        time.Time // zero: open end
	Hold       time.Duration
	Limit      int64 // units held and bought by one person; 0: no limit
	Challenge  bool  // a unit is held only for who has passed a challenge
	Created    time.Time
	Opened     time.Time // zero: Redis does not have it yet
	State      engine.State
	Change     int64 // number of the newest change that was decided
	// Sizes with what Postgres knows to be sold: it may be behind Redis.
	Sizes  []engine.SizeStock
	Buyers []Buyer // the newest first, as many as were asked for

	coming []int64 // units of each of Sizes that a change under way adds
}

// Buyer is one purchase of a drop and who made it.
type Buyer struct {
	Purchase  int64 // the id of the purchase, which is that of the reservation
	User      int64
	Username  string
	Purchased time.Time
}

// Terms is the drop as the engine opens it. firstSeq is the sequence number
// of the first hold; see Store.LastSeq for a drop that has a history.
func (d Drop) Terms(firstSeq int64) engine.Drop {
	sizes := slices.Clone(d.Sizes)
	for i, coming := range d.coming {
		// What was sold of it was there; whether the rest is, is not decided.
		sizes[i].Stock += max(0, min(coming, sizes[i].Sold-sizes[i].Stock))
	}
	return engine.Drop{
		ID: d.ID, Start: d.Start, End: d.End, Hold: d.Hold, Limit: d.Limit, Challenge: d.Challenge,
		Sizes: sizes, FirstSeq: firstSeq, State: d.State, Change: d.Change,
	}
}

// Bounds of a list: drops in one answer, and buyers of each.
const (
	defaultDrops = 100
	maxDrops     = 1000
	maxBuyers    = 100
)

// ListQuery asks for a page of the catalogue.
type ListQuery struct {
	// Limit is the number of drops, at most 1,000. Defaults to 100.
	Limit int
	// Before leaves out this id and all above it. Defaults to none left out.
	Before int64
	// Buyers is the number of newest buyers of each, at most 100. Defaults to none.
	Buyers int
}

// CreateDrop adds a drop that is not open yet: open it in the engine, then
// MarkOpened; or DiscardDrop. Returns ErrInvalid for values Postgres can not hold.
func (s *Store) CreateDrop(ctx context.Context, n NewDrop) (Drop, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()

	d := Drop{
		Name: n.Name, PriceMinor: n.PriceMinor, ImageURL: n.ImageURL,
		Sized: len(n.Sizes) != 1 || n.Sizes[0].Size != "",
		Start: n.Start.UTC(), End: n.End, Hold: n.Hold, Limit: n.Limit, Challenge: n.Challenge, State: engine.StateOpen,
	}
	names := make([]string, len(n.Sizes))
	stocks := make([]int64, len(n.Sizes))
	for i, size := range n.Sizes {
		names[i], stocks[i] = size.Size, size.Stock
		d.TotalStock += size.Stock
		d.Sizes = append(d.Sizes, engine.SizeStock{Size: size.Size, Stock: size.Stock})
	}
	var end *time.Time
	if !n.End.IsZero() {
		d.End = n.End.UTC()
		end = &d.End
	}
	// One statement, so one transaction.
	err := s.pool.QueryRow(ctx, `
		WITH d AS (
			INSERT INTO drops (name, price_minor, image_url, total_stock, sized,
				start_time, end_time, hold_ms, limit_per_customer, challenge)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $12)
			RETURNING id, created_at),
		sizes AS (
			INSERT INTO drop_sizes (drop_id, size, position, total_stock)
			SELECT d.id, s.size, s.position, s.stock
			FROM d, unnest($10::text[], $11::bigint[]) WITH ORDINALITY AS s (size, stock, position))
		SELECT id, created_at FROM d`,
		d.Name, d.PriceMinor, d.ImageURL, d.TotalStock, d.Sized,
		d.Start, end, d.Hold.Milliseconds(), d.Limit, names, stocks, d.Challenge,
	).Scan(&d.ID, &d.Created)
	if err != nil {
		return Drop{}, wrap("create drop", err)
	}
	d.Created = d.Created.UTC()
	return d, nil
}

// MarkOpened notes that Redis has the drop, so that it is listed. Repeating
// it changes nothing. Returns ErrNotFound.
func (s *Store) MarkOpened(ctx context.Context, id int64) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	tag, err := s.pool.Exec(ctx, `UPDATE drops SET opened_at = coalesce(opened_at, now()) WHERE id = $1::bigint`, id)
	if err == nil && tag.RowsAffected() == 0 {
		err = pgx.ErrNoRows
	}
	return wrap(fmt.Sprintf("mark drop %d opened", id), err)
}

// DiscardDrop takes back a drop that was never opened. Returns ErrNotFound if
// there is none, or if it was opened.
func (s *Store) DiscardDrop(ctx context.Context, id int64) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	tag, err := s.pool.Exec(ctx, `DELETE FROM drops WHERE id = $1::bigint AND opened_at IS NULL`, id)
	if err == nil && tag.RowsAffected() == 0 {
		err = pgx.ErrNoRows
	}
	return wrap(fmt.Sprintf("discard drop %d", id), err)
}

// ListDrops gives the opened drops, the newest id first, each with its newest
// buyers. One round trip.
func (s *Store) ListDrops(ctx context.Context, q ListQuery) ([]Drop, error) {
	if q.Limit <= 0 {
		q.Limit = defaultDrops
	}
	if q.Before <= 0 {
		q.Before = engine.MaxDropID + 1
	}
	return s.drops(ctx, `opened_at IS NOT NULL AND id < $1::bigint`, `id DESC`,
		q.Before, min(q.Limit, maxDrops), q.Buyers)
}

// Drop gives one drop, opened or not, with its newest buyers, at most 100.
// Returns ErrNotFound.
func (s *Store) Drop(ctx context.Context, id int64, buyers int) (Drop, error) {
	list, err := s.drops(ctx, `id = $1::bigint`, `id`, id, 1, buyers)
	switch {
	case err != nil:
		return Drop{}, err
	case len(list) == 0:
		return Drop{}, fmt.Errorf("drop %d: %w", id, ErrNotFound)
	}
	return list[0], nil
}

// DropsByID gives those of the drops that there are, opened or not, by rising
// id, each with its newest buyers, at most 100.
func (s *Store) DropsByID(ctx context.Context, ids []int64, buyers int) ([]Drop, error) {
	return s.drops(ctx, `id = ANY($1::bigint[])`, `id`, ids, len(ids), buyers)
}

// AllDrops goes through every drop, opened or not, by rising id and without
// buyers, a page at a time. An error is the last thing it yields.
func (s *Store) AllDrops(ctx context.Context) iter.Seq2[Drop, error] {
	return s.partitionDrops(ctx, 0, 1)
}

// partitionDrops goes through the drops of one partition as AllDrops does.
func (s *Store) partitionDrops(ctx context.Context, partition, partitions int) iter.Seq2[Drop, error] {
	const page = 500
	where := fmt.Sprintf(`id > $1::bigint AND id %% %d = %d`, partitions, partition)
	return func(yield func(Drop, error) bool) {
		after := int64(0)
		for {
			list, err := s.drops(ctx, where, `id`, after, page, 0)
			if err != nil {
				yield(Drop{}, err)
				return
			}
			for _, d := range list {
				if !yield(d, nil) {
					return
				}
				after = d.ID
			}
			if len(list) < page {
				return
			}
		}
	}
}

// drops selects drops by a condition over $1 and in an order, with sizes and
// buyers as arrays, so that a page is one statement.
func (s *Store) drops(ctx context.Context, where, order string, arg any, limit, buyers int) ([]Drop, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, `
		WITH page AS (
			SELECT * FROM drops WHERE `+where+` ORDER BY `+order+` LIMIT $2)
		SELECT d.id, d.name, d.price_minor, d.image_url, d.total_stock, d.sized,
			d.start_time, d.end_time, d.hold_ms, d.limit_per_customer, d.challenge, d.created_at, d.opened_at,
			d.state, d.change, s.sizes, s.stocks, s.sold, s.coming, b.purchases, b.users, b.usernames, b.times
		FROM page AS d
		CROSS JOIN LATERAL (
			SELECT array_agg(size ORDER BY position) AS sizes,
				array_agg(total_stock ORDER BY position) AS stocks,
				array_agg(sold ORDER BY position) AS sold,
				CASE WHEN sum(coming) > 0 THEN array_agg(coming ORDER BY position) END AS coming
			FROM drop_sizes WHERE drop_id = d.id) AS s
		CROSS JOIN LATERAL (
			SELECT array_agg(id ORDER BY purchased_at DESC, id DESC) AS purchases,
				array_agg(user_id ORDER BY purchased_at DESC, id DESC) AS users,
				array_agg(username ORDER BY purchased_at DESC, id DESC) AS usernames,
				array_agg(purchased_at ORDER BY purchased_at DESC, id DESC) AS times
			FROM (
				SELECT p.id, p.user_id, u.username, p.purchased_at
				FROM purchases AS p JOIN users AS u ON u.id = p.user_id
				WHERE p.drop_id = d.id
				ORDER BY p.purchased_at DESC, p.id DESC LIMIT $3) AS newest) AS b
		ORDER BY `+order,
		arg, limit, min(max(buyers, 0), maxBuyers))
	if err != nil {
		return nil, wrap("read drops", err)
	}
	list, err := pgx.CollectRows(rows, scanDrop)
	return list, wrap("read drops", err)
}

func scanDrop(row pgx.CollectableRow) (Drop, error) {
	var (
		d                           Drop
		end, opened                 *time.Time
		holdMS                      int64
		sizes, usernames            []string
		stocks, sold, purchases, by []int64
		times                       []time.Time
	)
	err := row.Scan(&d.ID, &d.Name, &d.PriceMinor, &d.ImageURL, &d.TotalStock, &d.Sized,
		&d.Start, &end, &holdMS, &d.Limit, &d.Challenge, &d.Created, &opened,
		&d.State, &d.Change, &sizes, &stocks, &sold, &d.coming, &purchases, &by, &usernames, &times)
	if err != nil {
		return Drop{}, err
	}
	d.Start, d.Created = d.Start.UTC(), d.Created.UTC()
	if end != nil {
		d.End = end.UTC()
	}
	if opened != nil {
		d.Opened = opened.UTC()
	}
	d.Hold = time.Duration(holdMS) * time.Millisecond
	for i := range sizes {
		d.Sizes = append(d.Sizes, engine.SizeStock{Size: sizes[i], Stock: stocks[i], Sold: sold[i]})
	}
	for i := range purchases {
		d.Buyers = append(d.Buyers, Buyer{
			Purchase: purchases[i], User: by[i], Username: usernames[i], Purchased: times[i].UTC(),
		})
	}
	return d, nil
}
