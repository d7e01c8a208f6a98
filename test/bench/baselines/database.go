package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// schema is as lean as it can be while it keeps what a shop needs: a hold is a
// row that is deleted when it ends, so no index is updated in place; the drop's
// row is updated often, never in an indexed column, and has room for its next
// version beside it. sold is not counted in that row: purchases never wait for it.
const schema = `
CREATE TABLE IF NOT EXISTS drops (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL,
    price       float8 NOT NULL,
    total_stock bigint NOT NULL,
    available   bigint NOT NULL CHECK (available BETWEEN 0 AND total_stock),
    taken       bigint NOT NULL DEFAULT 0, -- by the newest statement that took several
    start_time  timestamptz NOT NULL,
    hold        interval NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);
CREATE SEQUENCE IF NOT EXISTS reservation_ids INCREMENT BY 10000; -- handed out in blocks
CREATE TABLE IF NOT EXISTS reservations (
    id         bigint PRIMARY KEY,
    drop_id    bigint NOT NULL,
    user_id    bigint NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS reservations_expiry ON reservations (expires_at);
CREATE TABLE IF NOT EXISTS purchases (
    id           bigint PRIMARY KEY, -- the reservation's
    drop_id      bigint NOT NULL,
    user_id      bigint NOT NULL,
    purchased_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS purchases_newest ON purchases (drop_id, id);`

// database is Postgres, and what is known of it in process.
type database struct {
	pool   *pgxpool.Pool
	people int
	drops  sync.Map // id → drop
	ids    idBlock
}

// poolSizes are the connections that measured best, of 2 to 64 on two cores:
// more only wait for the same row, and for each other to be told.
var poolSizes = map[string]int{"rowlock": 3, "statement": 4, "grouped": 4}

func openDatabase(ctx context.Context, s settings) (*database, error) {
	cfg, err := pgxpool.ParseConfig(s.database)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = int32(min(s.pool, 1000))
	if s.pool <= 0 {
		cfg.MaxConns = int32(poolSizes[s.kind])
	}
	cfg.MinConns = cfg.MaxConns
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, schema); err != nil {
		pool.Close()
		return nil, fmt.Errorf("schema: %w", err)
	}
	db := &database{pool: pool, people: s.people}
	db.ids.next = func(ctx context.Context) (first int64, err error) {
		err = pool.QueryRow(ctx, `SELECT nextval('reservation_ids')`).Scan(&first)
		return first, err
	}
	return db, nil
}

// idBlock hands out the ids of a block of the sequence, and then takes the next.
type idBlock struct {
	mu          sync.Mutex
	free, limit int64
	next        func(context.Context) (first int64, err error)
}

const idBlockSize = 10_000 // the sequence's increment

func (b *idBlock) take(ctx context.Context) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.free == b.limit {
		first, err := b.next(ctx)
		if err != nil {
			return 0, err
		}
		b.free, b.limit = first, first+idBlockSize
	}
	b.free++
	return b.free - 1, nil
}

// drop gives what never changes of a drop.
func (db *database) drop(ctx context.Context, id int64) (drop, error) {
	if d, ok := db.drops.Load(id); ok {
		return d.(drop), nil
	}
	d := drop{id: id}
	err := db.pool.QueryRow(ctx, `SELECT start_time FROM drops WHERE id = $1`, id).Scan(&d.start)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, fmt.Errorf("drop %w", errNotFound)
	}
	if err == nil {
		db.drops.Store(id, d)
	}
	return d, err
}

func (db *database) create(ctx context.Context, n newDrop) (id int64, err error) {
	err = db.pool.QueryRow(ctx, `
		INSERT INTO drops (name, price, total_stock, available, start_time, hold)
		VALUES ($1, $2, $3, $3, $4, $5) RETURNING id`,
		n.Name, n.Price, n.TotalStock, n.Start, time.Duration(n.HoldSeconds*float64(time.Second))).Scan(&id)
	return id, err
}

const buyersShown = 3

// list gives the newest drops, each with its newest buyers.
func (db *database) list(ctx context.Context, limit int) ([]dropBody, error) {
	rows, err := db.pool.Query(ctx, `
		SELECT d.id, d.name, d.price, d.total_stock, d.available, d.start_time, extract(epoch FROM d.hold)::float8, d.created_at,
			coalesce(p.id, 0), coalesce(p.user_id, 0)
		FROM (SELECT * FROM drops ORDER BY id DESC LIMIT $1) d
		LEFT JOIN LATERAL (SELECT id, user_id FROM purchases WHERE drop_id = d.id ORDER BY id DESC LIMIT $2) p ON true
		ORDER BY d.id DESC, p.id DESC`, limit, buyersShown)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	drops := make([]dropBody, 0, limit)
	for rows.Next() {
		var d dropBody
		var start, created time.Time
		var purchase, user int64
		if err := rows.Scan(&d.ID, &d.Name, &d.Price, &d.TotalStock, &d.AvailableStock, &start, &d.HoldSeconds, &created, &purchase, &user); err != nil {
			return nil, err
		}
		if n := len(drops); n == 0 || drops[n-1].ID != d.ID {
			d.StartTime, d.CreatedAt, d.State = stamp(start), stamp(created), "open"
			d.Sizes, d.Purchases = []struct{}{}, make([]purchaseItem, 0, buyersShown)
			drops = append(drops, d)
		}
		if purchase > 0 {
			item := purchaseItem{ID: purchase}
			item.User.Username = fmt.Sprintf("person %d", user)
			last := &drops[len(drops)-1]
			last.Purchases = append(last.Purchases, item)
		}
	}
	return drops, rows.Err()
}

// show gives one drop, with what is held and sold of it, counted.
func (db *database) show(ctx context.Context, id int64) (dropBody, error) {
	var d dropBody
	var start, created time.Time
	var held, sold int64
	err := db.pool.QueryRow(ctx, `
		SELECT id, name, price, total_stock, available, start_time, extract(epoch FROM hold)::float8, created_at,
			(SELECT count(*) FROM reservations WHERE drop_id = d.id), (SELECT count(*) FROM purchases WHERE drop_id = d.id)
		FROM drops d WHERE id = $1`, id).Scan(
		&d.ID, &d.Name, &d.Price, &d.TotalStock, &d.AvailableStock, &start, &d.HoldSeconds, &created, &held, &sold)
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("drop %w", errNotFound)
	}
	d.StartTime, d.CreatedAt, d.State, d.Held, d.Sold = stamp(start), stamp(created), "open", &held, &sold
	d.Sizes, d.Purchases = []struct{}{}, []purchaseItem{}
	return d, err
}

// ended tells what became of a hold that is not there to be purchased.
func (db *database) ended(ctx context.Context, id int64) (receipt, error) {
	r := receipt{id: id, repeated: true}
	err := db.pool.QueryRow(ctx, `SELECT drop_id, user_id, purchased_at FROM purchases WHERE id = $1`, id).Scan(&r.drop, &r.user, &r.at)
	if !errors.Is(err, pgx.ErrNoRows) {
		return r, err
	}
	var last int64
	if err := db.pool.QueryRow(ctx, `SELECT last_value FROM reservation_ids`).Scan(&last); err != nil {
		return r, err
	}
	if id < 1 || id >= last+idBlockSize {
		return r, fmt.Errorf("reservation %w", errNotFound)
	}
	return r, errExpired
}

// sweepEvery is how late a lapsed hold's unit comes back.
const sweepEvery = 100 * time.Millisecond

// sweep gives lapsed holds back until ctx ends.
func (db *database) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := db.pool.Exec(ctx, `
			WITH lapsed AS (
				DELETE FROM reservations WHERE id IN (
					SELECT id FROM reservations WHERE expires_at <= now()
					ORDER BY expires_at LIMIT 10000 FOR UPDATE SKIP LOCKED)
				RETURNING drop_id),
			back AS (SELECT drop_id, count(*) AS n FROM lapsed GROUP BY drop_id ORDER BY drop_id)
			UPDATE drops SET available = available + n FROM back WHERE id = drop_id`)
		if err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "baselines: sweep:", err)
		}
	}
}
