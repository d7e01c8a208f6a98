package persist

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/holdfast/holdfast/engine"
)

// step is the most entries that one call reads or takes off: Redis serves nobody
// else in it.
const step = 1000

// firstCursor begins a round of claims, and ends it when it comes back.
const firstCursor = "0-0"

// follow works off one partition's ledger until Stop.
func (w *Writer) follow(partition int) {
	init := func(ctx context.Context) error { return w.cfg.Ledger.Init(ctx, partition) }
	if w.persistently(w.redis, init) != nil {
		return
	}
	w.resume(partition)
	var nextClaim time.Time // at once: a dead writer may have left something
	for !w.isStopping() {
		if time.Now().After(nextClaim) {
			w.claim(partition)
			// Jittered, so that writers do not all claim at the same moment.
			nextClaim = time.Now().Add(w.cfg.ClaimIdle/2 + rand.N(w.cfg.ClaimIdle/2+1)) //nolint:gosec // so that writers do not come at once: no secret
		}
		entries, lost := w.gather(partition)
		if w.settle(partition, entries) != nil {
			return
		}
		if lost {
			w.resume(partition)
		}
	}
}

// resume settles what this consumer was given and does not have in hand: what an
// earlier life of it had, or what came in a reply that was lost.
func (w *Writer) resume(partition int) {
	for after := firstCursor; !w.isStopping(); {
		var entries []engine.Entry
		err := w.persistently(w.redis, func(ctx context.Context) (err error) {
			entries, err = w.cfg.Ledger.Own(ctx, partition, after, int64(min(step, w.cfg.Batch)))
			return err
		})
		if err != nil || len(entries) == 0 || w.settle(partition, entries) != nil {
			return
		}
		after = entries[len(entries)-1].ID
	}
}

// claim takes over and settles what other consumers have held for too long.
func (w *Writer) claim(partition int) {
	for cursor := firstCursor; !w.isStopping(); {
		var entries []engine.Entry
		err := w.persistently(w.redis, func(ctx context.Context) (err error) {
			entries, cursor, err = w.cfg.Ledger.Claim(ctx, partition, cursor, int64(min(step, w.cfg.Batch)), w.cfg.ClaimIdle)
			return err
		})
		if err != nil || w.settle(partition, entries) != nil || cursor == firstCursor {
			return
		}
	}
}

// gather reads entries until they make a batch or Linger after the first. lost
// says that a read failed: Redis may have given entries that never arrived.
func (w *Writer) gather(partition int) (entries []engine.Entry, lost bool) {
	var (
		records int
		full    time.Time // when the batch is closed; zero before the first
	)
	for !w.isStopping() && records < w.cfg.Batch {
		block := w.cfg.Block
		if !full.IsZero() {
			if block = time.Until(full); block < time.Millisecond {
				break // Redis counts in milliseconds
			}
		}
		var more []engine.Entry
		err := w.persistently(w.redis, func(ctx context.Context) (err error) {
			more, err = w.cfg.Ledger.Read(ctx, partition, int64(min(step, w.cfg.Batch-records)), block)
			lost = lost || err != nil
			return err
		})
		if err != nil || (len(more) == 0 && full.IsZero()) {
			break
		}
		if full.IsZero() {
			full = time.Now().Add(w.cfg.Linger)
		}
		for _, e := range more {
			records += len(e.Ends) + len(e.Broken)
		}
		entries = append(entries, more...)
	}
	return entries, lost
}

// settle writes what the entries hold and then takes them off the ledger. An
// error means that the writer stops and the entries stay.
//
// Each round is of one epoch: the server says in which epoch it has the
// entries, Postgres takes them in that epoch alone, and they are taken off in it. When
// Redis changes in between, the next round begins with what the new server has;
// what it has not is lost, unless Postgres got it in time.
func (w *Writer) settle(partition int, entries []engine.Entry) error {
	const patience = 5 * time.Second // rebuilds take less
	begun, told := time.Now(), false
	for len(entries) > 0 {
		epoch, here, err := w.confirm(partition, entries)
		if err != nil {
			return err
		}
		var kept, gone []engine.Entry
		for i, e := range entries {
			if here[i] {
				kept = append(kept, e)
			} else {
				gone = append(gone, e)
			}
		}
		if err := w.reportGone(gone); err != nil {
			return err
		}
		entries = kept
		err = w.settleIn(partition, epoch, entries)
		if !errors.Is(err, ErrStaleEpoch) && !errors.Is(err, engine.ErrFenced) {
			return err
		}
		if !told && time.Since(begun) > patience {
			told = true
			w.cfg.Log.Error("Postgres takes nothing of this Redis, as the partition is in another epoch there; was this Redis replaced?",
				"partition", partition, "epoch", epoch)
		}
		select { // until the partition is served in the new epoch
		case <-time.After(retryFirst):
		case <-w.stopping:
			return err
		}
	}
	return nil
}

// errFenced says that a partition is fenced, which lasts for moments.
var errFenced = errors.New("the partition is fenced")

// confirm asks for the epoch in which the server has the entries, until it is
// served in one.
func (w *Writer) confirm(partition int, entries []engine.Entry) (epoch int64, here []bool, err error) {
	err = w.persistently(w.redis, func(ctx context.Context) (err error) {
		epoch, here, err = w.cfg.Ledger.Confirm(ctx, partition, entries)
		if err == nil && epoch == 0 {
			err = errFenced
		}
		return err
	})
	return epoch, here, err
}

// reportGone reports purchases and cancels that this writer has read and no
// server has any more, unless Postgres has them: another writer may have taken them off.
func (w *Writer) reportGone(gone []engine.Entry) error {
	var lost []engine.Reservation
	for _, e := range gone {
		for _, end := range e.Ends {
			if end.Status != engine.StatusExpired {
				lost = append(lost, end)
			}
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return w.persistently(w.postgres, func(ctx context.Context) error {
		return reportLost(ctx, w.cfg.Store, w.metrics.lost, w.cfg.Log, lost, "", "read from a Redis that was replaced before it was written")
	})
}

// settleIn does one round, in one epoch.
func (w *Writer) settleIn(partition int, epoch int64, entries []engine.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	var records []record
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
		for _, end := range e.Ends {
			records = append(records, record{End: end, partition: partition, epoch: epoch, entry: e.ID})
		}
	}
	// An entry may hold many records, so entries can exceed a batch.
	for rest := records; len(rest) > 0; {
		n := min(len(rest), w.cfg.Batch)
		if err := w.write(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	// Last, since a dead letter repeated after a crash is kept twice.
	for _, e := range entries {
		for _, raw := range e.Broken {
			if err := w.deadLetter(partition, e.ID, raw, "undecodable"); err != nil {
				return err
			}
		}
	}
	for some := range slices.Chunk(ids, step) {
		err := w.persistently(w.redis, func(ctx context.Context) error {
			return w.cfg.Ledger.Done(ctx, partition, epoch, some)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
