package engine

import (
	"context"
	"fmt"

	"github.com/holdfast/holdfast/lua"
)

// Purchase sells the held unit. A repeat returns the same receipt, with
// Replayed set. Of a purchase and the deadline exactly one wins.
//
// Errors: ErrExpired, ErrCancelled, ErrReservationNotFound, ErrUnavailable
// (outcome unknown; a repeat is safe), ErrOverloaded, ErrFenced, ErrCorrupt.
func (e *Engine) Purchase(ctx context.Context, id int64) (Reservation, error) {
	return e.PurchaseBy(ctx, id, anyone)
}

// PurchaseBy is Purchase where the reservation is this person's, else
// ErrReservationNotFound. Of a hold that lapsed a while ago Redis does not know
// whose it was: that is ErrExpired for everybody, and OwnReservation knows more.
func (e *Engine) PurchaseBy(ctx context.Context, id, owner int64) (Reservation, error) {
	res, err := e.settle(ctx, e.purchases, id, owner)
	e.heldNoMore(ctx, res, err)
	e.metrics.outcome("purchase", err)
	return res, err
}

// Cancel gives the held unit back. A repeat returns the same reservation, with
// Replayed set. Errors as for Purchase, with ErrCompleted for a reservation
// that was purchased.
func (e *Engine) Cancel(ctx context.Context, id int64) (Reservation, error) {
	return e.CancelBy(ctx, id, anyone)
}

// CancelBy is Cancel as PurchaseBy is Purchase.
func (e *Engine) CancelBy(ctx context.Context, id, owner int64) (Reservation, error) {
	res, err := e.settle(ctx, e.cancels, id, owner)
	e.heldNoMore(ctx, res, err)
	e.metrics.outcome("cancel", err)
	return res, err
}

// anyone as the owner lets everybody who knows the id.
const anyone = 0

// ending asks to end a hold, if it is the owner's.
type ending struct{ id, owner int64 }

func (e *Engine) settle(ctx context.Context, c *combiner[ending, Reservation], id, owner int64) (Reservation, error) {
	if id < 1 || id > MaxID || owner < 0 {
		return Reservation{}, ErrReservationNotFound
	}
	return c.do(ctx, DropOf(id), ending{id, owner})
}

func (e *Engine) purchaseBatch(ctx context.Context, drop int64, batch []*member[ending, Reservation]) {
	e.settleBatch(ctx, drop, true, batch)
}

func (e *Engine) cancelBatch(ctx context.Context, drop int64, batch []*member[ending, Reservation]) {
	e.settleBatch(ctx, drop, false, batch)
}

func (e *Engine) settleBatch(ctx context.Context, drop int64, purchase bool, batch []*member[ending, Reservation]) {
	p := e.keys.partition(drop)
	ids, owners := make([]int64, len(batch)), make([]int64, len(batch))
	for i, m := range batch {
		ids[i], owners[i] = m.req.id, m.req.owner
	}
	args := e.settleArgs(drop, purchase, ids)
	args.Owners = owners
	var results []lua.SettleResult
	err := e.inEpoch(ctx, p, func(token string) (err error) {
		args.Token = token
		results, err = lua.Settle(ctx, e.redis, args)
		return err
	}, func() {
		for i, m := range batch {
			m.res, m.err = settled(results[i])
			if m.err == nil {
				e.acks.keep(p, m.res)
				if !purchase {
					e.outlook.opened(drop, m.res.Size)
				}
			}
		}
	})
	if err != nil {
		fail(batch, err)
	}
}

func (e *Engine) settleArgs(drop int64, purchase bool, ids []int64) lua.SettleArgs {
	p := e.keys.partition(drop)
	args := lua.SettleArgs{
		Meta:    e.keys.meta(p),
		DropKey: e.keys.drop(drop), Deadlines: e.keys.deadlines(p), Buyers: e.keys.buyers(drop),
		Sold: e.keys.sold(drop), Ledger: e.keys.ledger(p),
		HoldPrefix: e.keys.holdPrefix(drop), Events: e.keys.events(p),
		Drop: drop, Purchase: purchase, Seqs: make([]int64, len(ids)),
	}
	for i, id := range ids {
		args.Seqs[i] = seqOf(id)
	}
	return args
}

// settled is what a caller gets for one result of settle.lua.
func settled(r lua.SettleResult) (Reservation, error) {
	if r.Code == lua.SettleLapsed {
		return Reservation{}, ErrExpired
	}
	if r.Code == lua.SettleNeverIssued || r.Code == lua.SettleNoDrop {
		return Reservation{}, ErrReservationNotFound
	}
	if r.Code == lua.SettleCorrupt {
		return Reservation{}, fmt.Errorf("%w: the hold's key lives but it is not held", ErrCorrupt)
	}
	res, err := parseEnd(r.Record)
	if err != nil {
		return Reservation{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if r.Code == lua.EndedOtherwise {
		if res.Status == StatusCompleted {
			return res, ErrCompleted
		}
		return res, ErrCancelled
	}
	res.Replayed = r.Code == lua.SettledBefore
	return res, nil
}
