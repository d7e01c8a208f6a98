package persist

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast/holdfast/engine"
)

// Rebuilt says what a rebuild of one partition did.
type Rebuilt struct {
	Partition int
	Epoch     int64
	Lossy     bool  // Redis may have lost what it acknowledged
	Drops     int   // looked at
	Opened    int   // drops that Redis lacked
	Restored  int64 // purchases that Redis lacked
	Revoked   int   // live holds that were ended: over in Postgres, or their unit was sold
	Corrected int   // drops with a counter that was wrong
	Took      time.Duration
}

// Rebuild compares a partition with Postgres and sets Redis right, whether it
// is fenced or not: it is fenced meanwhile. Each step is safe to repeat, and
// dying in the middle leaves the partition fenced for the next to begin anew.
// It returns engine.ErrBusy while another process is at it.
func (r *Reconciler) Rebuild(ctx context.Context, partition int) (Rebuilt, error) {
	return r.rebuild(ctx, partition, rebuildOptions{asked: true})
}

// RebuildDrop does so with one drop. Its partition is fenced meanwhile; if it
// was before, all of it is rebuilt.
func (r *Reconciler) RebuildDrop(ctx context.Context, drop int64) (Rebuilt, error) {
	return r.rebuild(ctx, r.cfg.Engine.Partition(drop), rebuildOptions{asked: true, drop: drop})
}

type rebuildOptions struct {
	asked bool  // also where the partition is served
	drop  int64 // this one alone, where the partition is served; 0: all
}

// rebuild does one partition. The order counts:
//
//  1. the epochs in Postgres are read, then the partition is claimed: from here on
//     every other call on it is fenced, so it stands still;
//  2. the epoch is raised in Postgres: from here on no writer of an earlier
//     epoch commits, so Postgres stands still too, but for this Redis's own ledger;
//  3. Redis gets what it lacks;
//  4. the partition is admitted in the new epoch.
func (r *Reconciler) rebuild(ctx context.Context, partition int, o rebuildOptions) (Rebuilt, error) {
	began := time.Now()
	before, err := r.cfg.Store.Epochs(ctx, partition)
	if err != nil {
		return Rebuilt{}, err
	}
	standing, err := r.cfg.Engine.Standing(ctx, partition)
	switch {
	case err != nil:
		return Rebuilt{}, err
	case standing.Admitted && !o.asked && standing.Epoch >= before.Admitted:
		return Rebuilt{}, nil
	case !o.asked && standing.Epoch > 0 && standing.Epoch < before.Admitted && (standing.Admitted || !standing.Lossy):
		return Rebuilt{}, fmt.Errorf("%w: partition %d is in epoch %d here and in %d elsewhere", ErrSuperseded,
			partition, standing.Epoch, before.Admitted)
	}
	claim, err := r.cfg.Engine.BeginRebuild(ctx, partition, standing)
	if err != nil {
		return Rebuilt{}, err
	}
	w := &rebuilding{r: r, claim: claim, asked: o.asked, done: Rebuilt{
		Partition: partition,
		Epoch:     max(before.Epoch, standing.Epoch) + 1,
		Lossy:     standing.Lossy || standing.Admitted, // asked for, so something may be wrong
	}}
	if standing.Admitted {
		w.only = o.drop
	}
	if err := w.throughout(ctx, before); err != nil {
		claim.Abandon(context.WithoutCancel(ctx))
		return Rebuilt{}, fmt.Errorf("rebuild partition %d: %w", partition, err)
	}
	w.done.Took = time.Since(began)
	r.metrics.rebuilds.WithLabelValues(strconv.FormatBool(w.done.Lossy)).Inc()
	r.metrics.seconds.Observe(w.done.Took.Seconds())
	r.metrics.restored.Add(float64(w.done.Restored))
	r.tell(w.done, standing.Epoch == 0 && before.Epoch == 0)
	// Best effort: it only tells a Redis that was replaced from one that was not.
	if err := r.cfg.Store.admitted(ctx, partition, w.done.Epoch); err != nil {
		r.cfg.Log.Warn("the admitted epoch could not be noted", "partition", partition, "err", err)
	}
	_, err = r.cfg.Engine.Refresh(ctx, partition)
	return w.done, err
}

// throughout does the rebuild while it holds on to the claim: Postgres may be
// slower than the claim lasts.
func (w *rebuilding) throughout(ctx context.Context, before Epochs) error {
	held, cancel := context.WithCancelCause(ctx)
	var holding sync.WaitGroup
	holding.Go(func() {
		if err := w.claim.Hold(held); err != nil {
			cancel(err)
		}
	})
	defer func() { cancel(nil); holding.Wait() }()
	err := w.steps(held, before)
	if cause := context.Cause(held); err != nil && cause != nil {
		err = errors.Join(cause, err)
	}
	return err
}

func (w *rebuilding) steps(ctx context.Context, before Epochs) error {
	store := w.r.cfg.Store
	if err := store.raiseEpoch(ctx, w.done.Partition, before.Epoch, w.done.Epoch); err != nil {
		return err
	}
	if err := w.run(ctx); err != nil {
		return err
	}
	// Another Redis may have been claimed meanwhile: the greater epoch is served.
	if now, err := store.Epochs(ctx, w.done.Partition); err != nil || now.Epoch != w.done.Epoch {
		return errors.Join(err, ErrStaleEpoch)
	}
	return w.claim.Admit(ctx, w.done.Epoch)
}

// tell logs a rebuild, unless it is the first look at a new deployment.
func (r *Reconciler) tell(d Rebuilt, first bool) {
	if first && d.Opened == 0 {
		return
	}
	log := r.cfg.Log.Info
	if d.Lossy && d.Drops > 0 {
		log = r.cfg.Log.Warn
	}
	log("Redis had changed; the partition was compared with Postgres and is served again",
		"partition", d.Partition, "epoch", d.Epoch, "may_have_lost", d.Lossy, "drops", d.Drops, "opened", d.Opened,
		"restored", d.Restored, "revoked", d.Revoked, "corrected", d.Corrected, "took", d.Took.Round(time.Millisecond))
}

// rebuilding is one rebuild under way.
type rebuilding struct {
	r     *Reconciler
	claim *engine.Rebuild
	asked bool  // by somebody who sees that something is wrong
	only  int64 // this drop alone; 0: all
	done  Rebuilt
}

// How many ids a drop skips when Redis has changed. Unknown to Postgres may be
// those of live holds, which are as many as there are unsold units at the most, and those
// in the ledger: idMargin of one drop. A Redis that seems to have lost nothing
// skips few: it may still be a replica that was promoted, lagged, and was
// restarted before anybody looked.
const (
	idMargin      = 1 << 18
	idMarginWhole = 1 << 15
)

// dropState is what a rebuild knows of one drop.
type dropState struct {
	drop    Drop
	counted engine.Counted
}

func (d *dropState) pool(size string) string {
	if d.drop.Sized {
		return size
	}
	return ""
}

func (w *rebuilding) run(ctx context.Context) error {
	drops := map[int64]*dropState{}
	for d, err := range w.r.cfg.Store.partitionDrops(ctx, w.done.Partition, w.r.cfg.Engine.Partitions()) {
		if err != nil {
			return err
		}
		if w.only != 0 && d.ID != w.only {
			continue
		}
		state := &dropState{drop: d, counted: engine.Counted{Held: map[string]int64{}}}
		for _, s := range d.Sizes {
			state.counted.Held[s.Size] = 0
		}
		err := w.bring(ctx, state)
		if errors.Is(err, engine.ErrInvalid) {
			w.r.cfg.Log.Error("a drop cannot be rebuilt", "drop", d.ID, "err", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("drop %d: %w", d.ID, err)
		}
		drops[d.ID] = state
		w.done.Drops++
	}
	if err := w.countHolds(ctx, drops); err != nil {
		return err
	}
	for _, d := range drops {
		err := w.level(ctx, d)
		if errors.Is(err, engine.ErrCorrupt) { // it alone answers so; the others are served
			w.r.cfg.Log.Error("a drop cannot be rebuilt", "drop", d.drop.ID, "err", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("drop %d: %w", d.drop.ID, err)
		}
	}
	return nil
}

// bring opens the drop if Redis lacks it, and puts back the purchases that
// Redis lacks.
func (w *rebuilding) bring(ctx context.Context, d *dropState) error {
	stock, err := w.stock(ctx, d.drop.ID)
	if err != nil {
		return err
	}
	seen := int64(0)
	if stock != nil {
		seen = stock.LastSeq
		if err := w.steer(ctx, d.drop, stock); err != nil {
			return err
		}
	} else {
		if err := w.countReceipts(ctx, d); err != nil {
			return err
		}
		if err := w.claim.Open(ctx, unsold(d.drop)); err != nil {
			return err
		}
		w.done.Opened++
	}
	lossy := w.done.Lossy || (stock == nil && !d.drop.Opened.IsZero())
	if !lossy {
		if lossy, err = w.lacksSales(ctx, stock, d.drop.ID); err != nil {
			return err
		}
	}
	margin := int64(idMarginWhole)
	if lossy {
		if err := w.restore(ctx, d.drop.ID); err != nil {
			return err
		}
		margin = idMargin
		for _, size := range d.drop.Sizes {
			margin += size.Stock - size.Sold
		}
	}
	if stock == nil || w.asked || !addsUp(stock) {
		if err := w.countSales(ctx, d); err != nil {
			return err
		}
	}
	// Also of one whose creation has no known outcome: it may have sold.
	if d.counted.Floor, err = w.r.cfg.Store.raiseSeqFloor(ctx, d.drop.ID, seen, margin); err != nil {
		return err
	}
	if d.counted.Floor > engine.MaxHolds/4*3 {
		w.r.cfg.Log.Error("a drop has used up most of its ids; it ends when none is left", "drop", d.drop.ID,
			"used", d.counted.Floor, "of", engine.MaxHolds)
	}
	if d.drop.Opened.IsZero() {
		return w.r.cfg.Store.MarkOpened(ctx, d.drop.ID)
	}
	return nil
}

// stock is what Redis has of a drop, nil for nothing. Counters that cannot be
// read are taken away: receipts and holds are counted anew.
func (w *rebuilding) stock(ctx context.Context, drop int64) (*engine.Stock, error) {
	known, err := w.r.cfg.Engine.Stock(ctx, []int64{drop})
	if errors.Is(err, engine.ErrCorrupt) {
		w.r.cfg.Log.Error("a drop's counters cannot be read; they are counted anew", "drop", drop, "err", err)
		return nil, w.claim.Forget(ctx, drop)
	}
	if err != nil {
		return nil, err
	}
	return known[0], nil
}

// lacksSales says whether Redis has sold less of a size than Postgres has
// written, or has handed out fewer ids than Postgres knows.
func (w *rebuilding) lacksSales(ctx context.Context, stock *engine.Stock, drop int64) (bool, error) {
	if stock == nil {
		return false, nil // a new drop
	}
	sold, err := w.r.cfg.Store.sold(ctx, drop)
	if err != nil {
		return false, err
	}
	for _, s := range stock.Sizes {
		if s.Sold < sold[s.Size] {
			return true, nil
		}
	}
	last, err := w.r.cfg.Store.LastSeq(ctx, drop)
	return last > stock.LastSeq, err
}

func (w *rebuilding) restore(ctx context.Context, drop int64) error {
	return w.r.cfg.Store.eachPurchase(ctx, drop, func(page []engine.End) error {
		for chunk := range slices.Chunk(page, engine.MaxRestore) {
			restored, odd, err := w.claim.Restore(ctx, drop, chunk)
			if err != nil {
				return err
			}
			w.done.Restored += restored
			if odd > 0 {
				w.r.cfg.Log.Error("purchases in Postgres contradict what Redis has", "drop", drop, "count", odd)
			}
		}
		return nil
	})
}

// countSales counts the receipts of a drop that Redis lacked, or that somebody asks to set
// right: a foreign hand may have been in the drop's counters.
func (w *rebuilding) countSales(ctx context.Context, d *dropState) error {
	sales, err := w.claim.Sales(ctx, d.drop.ID)
	d.counted.Sold = map[string]int64{}
	for size, n := range sales {
		d.counted.Sold[d.pool(size)] += n
	}
	return err
}

// addsUp says whether each size has as many units as its counters say.
func addsUp(s *engine.Stock) bool {
	return !slices.ContainsFunc(s.Sizes, func(c engine.SizeCount) bool { return c.Available+c.Held+c.Sold != c.Total })
}

// countHolds counts the holds one by one, and ends those that Postgres knows
// to be over.
func (w *rebuilding) countHolds(ctx context.Context, drops map[int64]*dropState) error {
	if err := w.claim.ReleaseLapsed(ctx); err != nil {
		return err
	}
	var over []engine.Reservation
	err := w.claim.EachHold(ctx, func(page []engine.Reservation) error {
		known := map[int64]bool{}
		if w.done.Lossy && len(page) > 0 {
			ids := make([]int64, len(page))
			for i, h := range page {
				ids[i] = h.ID
			}
			ended, err := w.r.cfg.Store.ended(ctx, ids)
			if err != nil {
				return err
			}
			for _, id := range ended {
				known[id] = true
			}
		}
		for _, h := range page {
			d := drops[h.Drop]
			if d == nil {
				continue // a drop that Postgres does not have
			}
			d.counted.Held[d.pool(h.Size)]++
			if known[h.ID] {
				over = append(over, h)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.revoke(ctx, drops, over)
}

// revoke ends live holds.
func (w *rebuilding) revoke(ctx context.Context, drops map[int64]*dropState, holds []engine.Reservation) error {
	const batch = 64
	slices.SortFunc(holds, func(a, b engine.Reservation) int { return cmp.Compare(a.ID, b.ID) })
	for len(holds) > 0 {
		drop, n := holds[0].Drop, 0
		var ids []int64
		for n < len(holds) && n < batch && holds[n].Drop == drop {
			ids = append(ids, holds[n].ID)
			n++
		}
		ended, err := w.claim.Revoke(ctx, drop, ids)
		if errors.Is(err, engine.ErrCorrupt) { // its counters do not add up: they are counted by now
			counted := drops[drop].counted
			counted.Force = true
			if _, _, err = w.claim.Level(ctx, drop, counted); err == nil {
				ended, err = w.claim.Revoke(ctx, drop, ids)
			}
		}
		if err != nil {
			return err
		}
		for _, r := range ended { // others had no key any more, and lapse
			d := drops[drop]
			d.counted.Held[d.pool(r.Size)]--
			w.done.Revoked++
		}
		holds = holds[n:]
	}
	return nil
}

// level sets the counters right. Where more is held and sold than there is,
// the newest holds have to go: their units were sold to others on a Redis that is lost.
func (w *rebuilding) level(ctx context.Context, d *dropState) error {
	changed, short, err := w.claim.Level(ctx, d.drop.ID, d.counted)
	if err != nil {
		return err
	}
	if changed {
		w.done.Corrected++
	}
	if len(short) == 0 {
		return nil
	}
	var newest []engine.Reservation
	err = w.claim.EachHold(ctx, func(page []engine.Reservation) error {
		for _, h := range page {
			if h.Drop == d.drop.ID && short[d.pool(h.Size)] > 0 {
				newest = append(newest, h)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(newest, func(a, b engine.Reservation) int { return cmp.Compare(b.ID, a.ID) })
	var chosen []engine.Reservation
	for _, h := range newest {
		if pool := d.pool(h.Size); short[pool] > 0 {
			short[pool]--
			chosen = append(chosen, h)
		}
	}
	if len(chosen) > 0 { // first the report: who dies in between has at least said so
		if err := w.r.report(ctx, chosen, LostRevoked, "the unit had been sold to another on a Redis that is lost"); err != nil {
			return err
		}
	}
	if err := w.revoke(ctx, map[int64]*dropState{d.drop.ID: d}, slices.Clone(chosen)); err != nil {
		return err
	}
	d.counted.Force = true
	if _, short, err = w.claim.Level(ctx, d.drop.ID, d.counted); err != nil {
		return err
	}
	for size, units := range short {
		w.r.cfg.Log.Error("more is sold than there is; the last of it will be in refused_purchases",
			"drop", d.drop.ID, "size", size, "units", units)
	}
	return nil
}
