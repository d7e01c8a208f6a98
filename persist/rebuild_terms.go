package persist

import (
	"context"

	"github.com/holdfast/holdfast/engine"
)

// countReceipts has a drop that Redis lacks know of what receipts in Redis say to be sold
// and Postgres does not: of units that a change under way adds, they prove that it was made.
func (w *rebuilding) countReceipts(ctx context.Context, d *dropState) error {
	if d.drop.coming == nil {
		return nil
	}
	if err := w.countSales(ctx, d); err != nil {
		return err
	}
	for i, s := range d.drop.Sizes {
		d.drop.Sizes[i].Sold = max(s.Sold, d.counted.Sold[s.Size])
	}
	return nil
}

// unsold are the terms of a drop with nothing sold: each purchase is put back
// with its receipt.
func unsold(d Drop) engine.Drop {
	terms := d.Terms(1)
	for i := range terms.Sizes {
		terms.Sizes[i].Sold = 0
	}
	return terms
}

// steer puts the terms of a drop back where Redis has lost the newest change, or
// may have lost one under way of which units were sold. A change that Redis has
// decided and Postgres does not know of yet stays.
func (w *rebuilding) steer(ctx context.Context, d Drop, stock *engine.Stock) error {
	if stock.Change > d.Change || (stock.Change == d.Change && d.coming == nil) {
		return nil
	}
	w.r.cfg.Log.Warn("the terms of a drop are put back as Postgres has them", "drop", d.ID, "change", d.Change, "in_redis", stock.Change)
	return w.claim.Steer(ctx, unsold(d))
}
