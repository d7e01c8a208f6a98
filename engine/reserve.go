package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast/holdfast/lua"
)

// reserveErrors maps each refusal of reserve.lua to its error.
var reserveErrors = map[lua.Refusal]error{
	lua.DropNotFound:        ErrDropNotFound,
	lua.NotStarted:          ErrNotStarted,
	lua.Ended:               ErrEnded,
	lua.Paused:              ErrPaused,
	lua.OutOfStock:          ErrOutOfStock,
	lua.LimitReached:        ErrLimitReached,
	lua.SizeRequired:        ErrSizeRequired,
	lua.UnknownSize:         ErrUnknownSize,
	lua.IdempotencyConflict: ErrIdempotencyConflict,
	lua.Exhausted:           ErrExhausted,
	lua.Overloaded:          ErrOverloaded,
	lua.ChallengeRequired:   ErrChallengeRequired,
}

// Reserve holds one unit for a person until the returned Deadline.
//
// Refusals: ErrDropNotFound, ErrNotStarted, ErrEnded, ErrPaused,
// ErrOutOfStock, ErrLimitReached, ErrSizeRequired, ErrUnknownSize,
// ErrIdempotencyConflict, ErrExhausted, ErrInvalid, ErrChallengeRequired, and
// where people have limits over all drops ErrTooManyHolds and ErrCoolingDown. After ErrUnavailable the
// outcome is unknown: a repeat with the same Key gets the reservation if there
// is one. ErrOverloaded, ErrFenced: nothing happened, come again later.
func (e *Engine) Reserve(ctx context.Context, r ReserveRequest) (Reservation, error) {
	if r.Drop < 1 || r.Drop > MaxDropID {
		return Reservation{}, ErrDropNotFound
	}
	if r.User < 1 || !validSize(r.Size) || len(r.Key) > MaxKey {
		return Reservation{}, fmt.Errorf("%w: user %d, size %q, key of %d bytes", ErrInvalid, r.User, r.Size, len(r.Key))
	}
	if e.memory.full() {
		err := fmt.Errorf("%w: Redis's memory is nearly full", ErrOverloaded)
		e.metrics.outcome("reserve", err)
		return Reservation{}, err
	}
	res, err := e.reserveOrRefuse(ctx, r)
	e.metrics.outcome("reserve", err)
	e.refusals.count(r.Drop, err)
	return res, err
}

func (e *Engine) reserveOrRefuse(ctx context.Context, r ReserveRequest) (Reservation, error) {
	if r.Key == "" { // one with a key may have its hold already, which Redis alone knows
		probe, refusal := e.outlook.refuse(ctx, r.Drop, r.Size)
		if refusal != nil {
			e.metrics.early.Inc()
			return Reservation{}, refusal
		}
		if probe != nil {
			defer probe.answered()
		}
	}
	if e.people != nil {
		return e.reserveWithin(ctx, r)
	}
	return e.reserves.do(ctx, r.Drop, r)
}

func (e *Engine) reserveBatch(ctx context.Context, drop int64, batch []*member[ReserveRequest, Reservation]) {
	e.metrics.batch.Observe(float64(len(batch)))
	p := e.keys.partition(drop)
	args := lua.ReserveArgs{
		Meta: e.keys.meta(p), Ledger: e.keys.ledger(p), MaxLedger: e.cfg.MaxLedger,
		DropKey: e.keys.drop(drop), Deadlines: e.keys.deadlines(p),
		Buyers: e.keys.buyers(drop), Idem: e.keys.idem(drop),
		HoldPrefix: e.keys.holdPrefix(drop), Events: e.keys.events(p),
		Drop: drop, MaxSeq: maxSeq,
		Items: make([]lua.ReserveItem, len(batch)),
	}
	for i, m := range batch {
		args.Items[i] = lua.ReserveItem{User: m.req.User, Size: m.req.Size, Key: m.req.Key, Passed: m.req.Passed}
	}
	var reply lua.ReserveReply
	var sent time.Time
	err := e.inEpoch(ctx, p, func(token string) (err error) {
		args.Token = token
		sent = time.Now()
		reply, err = lua.Reserve(ctx, e.redis, args)
		return err
	}, func() { e.reserved(drop, batch, reply) })
	if err != nil {
		fail(batch, err)
		return
	}
	e.outlook.replied(drop, sent, batch, reply)
}

// reserved gives each member of the batch its result, and remembers the new holds.
func (e *Engine) reserved(drop int64, batch []*member[ReserveRequest, Reservation], reply lua.ReserveReply) {
	p := e.keys.partition(drop)
	created, deadline := time.UnixMilli(reply.NowMS).UTC(), time.UnixMilli(reply.DeadlineMS).UTC()
	for i, m := range batch {
		switch r := reply.Results[i]; {
		case r.Seq > 0:
			m.res = Reservation{
				ID: ReservationID(drop, r.Seq), Drop: drop, User: m.req.User, Size: m.req.Size,
				Status: StatusActive, Created: created, Deadline: deadline,
			}
			e.acks.keep(p, m.res)
		case r.Before != "":
			m.res, m.err = parseHold(r.Before)
			if m.err != nil {
				m.err = fmt.Errorf("%w: %w", ErrCorrupt, m.err)
			}
			m.res.Replayed = true
			if m.err == nil {
				e.acks.keep(p, m.res) // who was told of it first may be gone
			}
		default:
			m.err = reserveErrors[r.Refusal]
			if m.err == nil {
				m.err = fmt.Errorf("%w: reserve.lua answered %d", ErrCorrupt, r.Refusal)
			}
		}
	}
}
