package engine

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast/holdfast/lua"
)

const (
	// lookupDue is how many lapsed but unreleased holds a lookup looks
	// through: more than a sweep leaves behind unless very many lapse at once.
	lookupDue = 200
	// lookupLedger is how many of the newest ledger entries it looks through. Each may have a
	// hundred records, and Redis does nothing else meanwhile: 3 ms for as many.
	lookupLedger = 100
)

// Reservation says where a reservation stands, from Redis alone: ErrReservationNotFound
// when its id was never issued, or the drop is unknown here.
//
// Of a hold that has lapsed Redis forgets the details once it is persisted:
// then only ID, Drop and Status (StatusExpired) are set, and the history knows
// the rest.
func (e *Engine) Reservation(ctx context.Context, id int64) (Reservation, error) {
	return e.OwnReservation(ctx, id, anyone)
}

// OwnReservation is Reservation where it is this person's, else
// ErrReservationNotFound. Where only ID, Drop and Status are set it may be
// another's: the history knows.
func (e *Engine) OwnReservation(ctx context.Context, id, owner int64) (Reservation, error) {
	if id < 1 || id > MaxID || owner < 0 {
		return Reservation{}, ErrReservationNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	drop, seq := DropOf(id), seqOf(id)
	if drop < 1 {
		return Reservation{}, ErrReservationNotFound
	}
	p := e.keys.partition(drop)
	stands, text, err := lua.Lookup(ctx, e.redis, lua.LookupArgs{
		DropKey: e.keys.drop(drop), Deadlines: e.keys.deadlines(p), Sold: e.keys.sold(drop),
		Hold: e.keys.holdPrefix(drop) + strconv.FormatInt(seq, 10),
		Drop: drop, Seq: seq, Most: lookupDue, Owner: owner,
	})
	if err != nil {
		return Reservation{}, unavailable(err)
	}
	var res Reservation
	switch {
	case stands == lua.StandsNeverIssued || stands == lua.StandsNoDrop:
		return Reservation{}, ErrReservationNotFound
	case stands == lua.StandsSettled:
		res, err = parseEnd(text)
	case stands == lua.StandsLapsed && text == "":
		res, err := e.lapsedInLedger(ctx, id, p)
		if owner != anyone && res.User != 0 && res.User != owner {
			return Reservation{}, ErrReservationNotFound
		}
		return res, err
	default:
		res, err = parseHold(text)
		if stands == lua.StandsLapsed {
			res.Status, res.Ended = StatusExpired, res.Deadline
		}
	}
	if err != nil {
		return Reservation{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return res, nil
}

// lapsedInLedger finds a released hold among the newest ledger entries.
func (e *Engine) lapsedInLedger(ctx context.Context, id int64, p int) (Reservation, error) {
	bare := Reservation{ID: id, Drop: DropOf(id), Status: StatusExpired}
	msgs, err := e.redis.XRevRangeN(ctx, e.keys.ledger(p), "+", "-", lookupLedger).Result()
	if err != nil {
		return bare, unavailable(err)
	}
	// Only the records that can be it are parsed.
	needle := ":x:" + strconv.FormatInt(bare.Drop, 10) + ":" + strconv.FormatInt(seqOf(id), 10) + ":"
	for _, m := range msgs {
		for _, v := range m.Values {
			if record, ok := v.(string); ok && strings.Contains(record, needle) {
				if res, err := parseEnd(record); err == nil && res.ID == id {
					return res, nil
				}
			}
		}
	}
	return bare, nil
}
