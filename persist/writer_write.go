package persist

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/holdfast/holdfast/engine"
)

// record is one end of a hold and the ledger entry it came with.
type record struct {
	engine.End
	partition int
	epoch     int64 // in which the server has the entry
	entry     string
}

// write brings the records to Postgres, each to the table it belongs in, or
// to the dead letters. An error means that the writer stops.
func (w *Writer) write(records []record) error {
	now, later := distinct(records)
	if err := w.commit(now); err != nil || len(later) == 0 {
		return err
	}
	return w.write(later)
}

// distinct sorts records by id and puts those that repeat an id with other
// words into later, the purchases first; true repeats are left out.
func distinct(records []record) (now, later []record) {
	rank := func(r record) int {
		if r.Status == engine.StatusCompleted {
			return 0
		}
		return 1
	}
	sorted := slices.Clone(records)
	slices.SortStableFunc(sorted, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(rank(a), rank(b)))
	})
	for _, r := range sorted {
		switch {
		case len(now) == 0 || now[len(now)-1].ID != r.ID:
			now = append(now, r)
		case now[len(now)-1].End != r.End:
			later = append(later, r)
		}
	}
	return now, later
}

// commit writes distinct records of one partition and epoch in one
// transaction, in several where Postgres takes too long for one. A refused one is
// split until the bad record stands alone.
func (w *Writer) commit(records []record) error {
	ends := make([]engine.End, len(records))
	for i, r := range records {
		ends[i] = r.End
	}
	var purchases int64
	spans := w.beginSpans(ends)
	defer spans.end()
	left, most := ends, len(ends)
	err := w.persistently(w.postgres, func(ctx context.Context) error {
		ctx = spans.in(ctx)
		for len(left) > 0 {
			part, began := left[:min(most, len(left))], time.Now()
			done, err := w.cfg.Store.writeEnds(ctx, records[0].partition, records[0].epoch, part, w.outbox)
			if errors.Is(err, context.DeadlineExceeded) {
				most = max(1, len(part)/2) // fewer will do, unless Postgres is away
			}
			if err != nil {
				return err
			}
			w.metrics.batch(time.Since(began), len(part), done)
			purchases += done.purchases
			left = left[len(part):]
		}
		return nil
	})
	switch {
	case err == nil:
		return w.compare(records, ends, purchases)
	case !refusesData(err):
		return err
	case len(records) == 1:
		return w.setAside(records[0], err)
	}
	half := len(records) / 2
	if err := w.commit(records[:half]); err != nil {
		return err
	}
	return w.commit(records[half:])
}

// compare makes sure that purchases which were not inserted had arrived
// before: with an id handed out twice, the second buyer must not vanish.
func (w *Writer) compare(records []record, ends []engine.End, inserted int64) error {
	if int64(len(completed(ends))) == inserted {
		return nil
	}
	var ids []int64
	err := w.persistently(w.postgres, func(ctx context.Context) (err error) {
		ids, err = w.cfg.Store.contradicted(ctx, ends)
		return err
	})
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.Status == engine.StatusCompleted && slices.Contains(ids, r.ID) {
			if err := w.deadLetter(r.partition, r.entry, engine.Record(r.End), "another purchase has this id"); err != nil {
				return err
			}
		}
	}
	return nil
}

// setAside keeps a record that Postgres will never take as it is.
func (w *Writer) setAside(r record, reason error) error {
	if !oversold(reason) {
		return w.deadLetter(r.partition, r.entry, engine.Record(r.End), reason.Error())
	}
	var added bool
	err := w.persistently(w.postgres, func(ctx context.Context) (err error) {
		added, err = w.cfg.Store.refuse(ctx, r.End, reason.Error())
		return err
	})
	switch {
	case refusesData(err): // oversold and unknown: no row can hold it
		return w.deadLetter(r.partition, r.entry, engine.Record(r.End), err.Error())
	case err == nil && added:
		w.metrics.refused.Inc()
		w.cfg.Log.Error("purchase refused by the oversell guard, kept in refused_purchases",
			"reservation", r.ID, "drop", r.Drop, "user", r.User, "size", r.Size)
	}
	return err
}

func (w *Writer) deadLetter(partition int, entry, record, reason string) error {
	err := w.persistently(w.redis, func(ctx context.Context) error {
		return w.cfg.Ledger.DeadLetter(ctx, partition, entry, record, reason)
	})
	if err == nil {
		w.metrics.deadLetters.Inc()
		w.cfg.Log.Error("ledger record can not be persisted, kept as a dead letter",
			"partition", partition, "entry", entry, "record", record, "reason", reason)
	}
	return err
}
