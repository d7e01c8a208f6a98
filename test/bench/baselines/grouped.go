package main

import (
	"context"
	"sync"
	"time"
)

// grouped puts the reserves that wait for one drop into one statement, and
// likewise purchases: one commit, and one lock of the drop's row, serve many.
type grouped struct {
	db      *database
	ctx     context.Context // of the combiners
	batch   int
	flights int

	lanes     sync.Map                  // drop id → func() *combiner[int64, hold]
	purchases *combiner[int64, receipt] // nil: each by itself
	single    *statement                // for these
	opened    []*combiner[int64, hold]  // of lanes
	mu        sync.Mutex                // of opened
}

func newGrouped(ctx context.Context, db *database, s settings) *grouped {
	g := &grouped{db: db, ctx: ctx, batch: s.batch, flights: s.flights, single: &statement{db}}
	if !s.single {
		g.purchases = newCombiner(ctx, s.flights, s.batch, g.purchaseAll)
	}
	return g
}

// wait returns when the context and then all flights have ended.
func (g *grouped) wait() {
	<-g.ctx.Done()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.opened {
		c.flights.Wait()
	}
	if g.purchases != nil {
		g.purchases.flights.Wait()
	}
}

// lane is the drop's combiner.
func (g *grouped) lane(drop int64) *combiner[int64, hold] {
	open := func() *combiner[int64, hold] {
		c := newCombiner(g.ctx, g.flights, g.batch, func(ctx context.Context, batch []*member[int64, hold]) {
			g.reserveAll(ctx, drop, batch)
		})
		g.mu.Lock()
		defer g.mu.Unlock()
		g.opened = append(g.opened, c)
		return c
	}
	known, ok := g.lanes.Load(drop)
	if !ok {
		known, _ = g.lanes.LoadOrStore(drop, sync.OnceValue(open))
	}
	return known.(func() *combiner[int64, hold])()
}

func (g *grouped) reserve(ctx context.Context, d drop, user int64) (hold, error) {
	if time.Now().Before(d.start) {
		return hold{}, errNotStarted
	}
	return g.lane(d.id).do(ctx, user)
}

// reserveAll takes as many units as there are, up to one each, and adds the
// holds of those who came first. Ids are chosen here, so only two times and a
// number come back.
func (g *grouped) reserveAll(ctx context.Context, drop int64, batch []*member[int64, hold]) {
	ids, users := make([]int64, len(batch)), make([]int64, len(batch))
	var err error
	for i, m := range batch {
		users[i] = m.req
		if ids[i], err = g.db.ids.take(ctx); err != nil {
			failAll(batch, err)
			return
		}
	}
	var taken int
	var created, deadline *time.Time
	err = g.db.pool.QueryRow(ctx, `
		WITH first AS (
			UPDATE drops SET taken = least(available, $2), available = available - least(available, $2)
			WHERE id = $1 AND available > 0 RETURNING taken, now() + hold AS deadline),
		added AS (
			INSERT INTO reservations (id, drop_id, user_id, created_at, expires_at)
			SELECT r.id, $1, r.user_id, now(), deadline
			FROM first, unnest($3::bigint[], $4::bigint[]) WITH ORDINALITY AS r (id, user_id, place)
			WHERE place <= taken)
		SELECT coalesce(sum(taken), 0)::bigint, min(now()), min(deadline) FROM first`,
		drop, int64(len(batch)), ids, users).Scan(&taken, &created, &deadline)
	if err != nil {
		failAll(batch, err)
		return
	}
	for i, m := range batch {
		if i < taken {
			m.res = hold{id: ids[i], drop: drop, user: users[i], created: *created, deadline: *deadline}
		} else {
			m.err = errOutOfStock
		}
	}
}

func (g *grouped) purchase(ctx context.Context, id int64) (receipt, error) {
	if g.purchases == nil {
		return g.single.purchase(ctx, id)
	}
	r, err := g.purchases.do(ctx, id)
	if err == nil && r.id == 0 {
		return g.db.ended(ctx, id)
	}
	return r, err
}

// purchaseAll sells what is still held; a receipt without an id says that a
// hold is not there.
func (g *grouped) purchaseAll(ctx context.Context, batch []*member[int64, receipt]) {
	ids := make([]int64, len(batch))
	of := make(map[int64]*member[int64, receipt], len(batch))
	for i, m := range batch {
		ids[i] = m.req
		if of[m.req] == nil { // who asks twice at once gets one receipt and one repeat of it
			of[m.req] = m
		}
	}
	rows, err := g.db.pool.Query(ctx, `
		WITH ended AS (
			DELETE FROM reservations WHERE id = ANY ($1::bigint[]) AND expires_at > now() RETURNING id, drop_id, user_id),
		bought AS (
			INSERT INTO purchases (id, drop_id, user_id, purchased_at) SELECT id, drop_id, user_id, now() FROM ended)
		SELECT id, drop_id, user_id, now() FROM ended`, ids)
	if err != nil {
		failAll(batch, err)
		return
	}
	defer rows.Close()
	for rows.Next() {
		var r receipt
		if err := rows.Scan(&r.id, &r.drop, &r.user, &r.at); err != nil {
			failAll(batch, err)
			return
		}
		of[r.id].res = r
	}
	if err := rows.Err(); err != nil {
		failAll(batch, err)
	}
}

// failAll gives all the same error.
func failAll[Q, R any](batch []*member[Q, R], err error) {
	for _, m := range batch {
		m.err = err
	}
}
