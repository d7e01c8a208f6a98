package live

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

const (
	// retryAfter is how long a failed reading rests; it doubles up to retryMax.
	retryAfter = 100 * time.Millisecond
	retryMax   = time.Second
	// buyersEvery is the least time between two readings of newest buyers. A
	// purchase has to reach Postgres first, so the first is buyersAfter it was
	// heard of.
	buyersEvery = 250 * time.Millisecond
	buyersAfter = 75 * time.Millisecond
)

// keepStock reads the stock of stale drops from Redis, and of all drops after
// each (re)subscription and now and then.
func (h *Hub) keepStock(ctx context.Context) {
	check := time.NewTicker(h.cfg.CheckEvery)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-check.C:
			h.resync.Store(true)
		case <-h.toRead:
		}
		h.insist(ctx, "the stock of drops cannot be read; trying on", h.readStale)
	}
}

// insist calls read until it succeeds or ctx ends, and logs the first failure.
func (h *Hub) insist(ctx context.Context, complaint string, read func(context.Context) error) {
	for rest := retryAfter; ; rest = min(2*rest, retryMax) {
		err := read(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if rest == retryAfter {
			h.log.Warn("live: "+complaint, "err", err) //nolint:sloglint // one of two messages
		}
		ring(h.news) // what waited for it long enough is told without
		select {
		case <-ctx.Done():
			return
		case <-time.After(rest):
		}
	}
}

func (h *Hub) readStale(ctx context.Context) error {
	all := h.resync.Swap(false)
	if all {
		if err := h.clock.set(ctx, h.cfg.Engine); err != nil {
			h.resync.Store(true)
			return err
		}
	}
	h.mu.Lock()
	drops := h.board.stale
	if all {
		for drop := range h.board.drops {
			drops[drop] = true
		}
	}
	h.board.stale = map[int64]bool{}
	ids := slices.Collect(maps.Keys(drops))
	since := make([]int64, len(ids))
	for i, drop := range ids {
		since[i] = h.board.at(drop).stock.Version
	}
	clear(h.board.stale) // at has marked those that were new
	h.mu.Unlock()

	stock, err := h.cfg.Engine.Stock(ctx, ids)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		maps.Copy(h.board.stale, drops)
		return err
	}
	for i, drop := range ids {
		h.board.read(drop, stock[i], since[i])
	}
	h.becomeLoaded()
	ring(h.news)
	return nil
}

// becomeLoaded opens the doors once the board has been filled: from then on
// what is found is news.
func (h *Hub) becomeLoaded() {
	select {
	case <-h.loaded:
		return
	default:
	}
	if !h.listed.Load() || len(h.board.stale) > 0 {
		return
	}
	for _, e := range h.board.dirty {
		e.stockChanged, e.rowChanged, e.announced = false, false, e.row != nil
	}
	clear(h.board.dirty)
	close(h.loaded)
}

// keepCatalogue reads the catalogue: all of it at the start and now and then,
// and in between the drops that are new or have new buyers.
func (h *Hub) keepCatalogue(ctx context.Context) {
	check := time.NewTicker(h.cfg.CheckEvery)
	defer check.Stop()
	const complaint = "the catalogue cannot be read; trying on"
	h.insist(ctx, complaint, h.listAll)
	for {
		select {
		case <-ctx.Done():
			return
		case <-check.C:
			h.insist(ctx, complaint, h.listAll)
			continue
		case <-h.toList:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(buyersAfter):
		}
		h.insist(ctx, complaint, h.listNews)
		select {
		case <-ctx.Done():
			return
		case <-time.After(buyersEvery - buyersAfter):
		}
	}
}

// listPage is how many drops one statement reads.
const listPage = 1000

func (h *Hub) listAll(ctx context.Context) error {
	before := int64(0)
	for n := 0; n < maxDrops; n += listPage {
		rows, err := h.cfg.Store.ListDrops(ctx, persist.ListQuery{Limit: listPage, Before: before, Buyers: h.cfg.Buyers})
		if err != nil {
			return err
		}
		h.list(rows)
		if len(rows) < listPage {
			before = 0
			break
		}
		before = rows[len(rows)-1].ID
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.board.trim(before)
	h.listed.Store(true)
	ring(h.toRead)
	return nil
}

func (h *Hub) listNews(ctx context.Context) error {
	h.mu.Lock()
	var ids []int64
	for drop := range h.board.sold {
		ids = append(ids, drop)
	}
	changed := h.board.changed
	h.board.changed = map[int64]bool{}
	for drop := range changed {
		ids = append(ids, drop)
	}
	for drop, e := range h.board.drops {
		if e.row == nil {
			ids = append(ids, drop)
		}
	}
	h.mu.Unlock()
	for page := range slices.Chunk(ids, listPage) {
		rows, err := h.cfg.Store.DropsByID(ctx, page, h.cfg.Buyers)
		if err != nil {
			h.mu.Lock()
			maps.Copy(h.board.changed, changed)
			h.mu.Unlock()
			return err
		}
		h.list(rows)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.board.tried(ids)
	if len(h.board.sold) > 0 {
		ring(h.toList)
	}
	return nil
}

func (h *Hub) list(rows []persist.Drop) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, row := range rows {
		h.board.list(row)
	}
	ring(h.news)
	if len(h.board.stale) > 0 {
		ring(h.toRead)
	}
}

// clock knows by how much Redis's clock is ahead of this machine's.
type clock struct {
	aheadNS atomic.Int64
}

func (c *clock) set(ctx context.Context, e *engine.Engine) error {
	asked := time.Now()
	theirs, err := e.Now(ctx)
	if err != nil {
		return err
	}
	c.aheadNS.Store(int64(theirs.Sub(asked.Add(time.Since(asked) / 2))))
	return nil
}

// now is the time by Redis's clock.
func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.aheadNS.Load())) }
