package persist

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/holdfast/holdfast/engine"
)

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
			nextClaim = time.Now().Add(w.cfg.ClaimIdle/2 + rand.N(w.cfg.ClaimIdle/2+1))
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
			entries, err = w.cfg.Ledger.Own(ctx, partition, after, int64(w.cfg.Batch))
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
			entries, cursor, err = w.cfg.Ledger.Claim(ctx, partition, cursor, int64(w.cfg.Batch), w.cfg.ClaimIdle)
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
			more, err = w.cfg.Ledger.Read(ctx, partition, int64(w.cfg.Batch-records), block)
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
func (w *Writer) settle(partition int, entries []engine.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	var records []record
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
		for _, end := range e.Ends {
			records = append(records, record{End: end, partition: partition, entry: e.ID})
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
	return w.persistently(w.redis, func(ctx context.Context) error {
		return w.cfg.Ledger.Done(ctx, partition, ids)
	})
}
