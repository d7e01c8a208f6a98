package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/lua"
)

// people has limits of what one person may do over all drops. The drops lie in
// different partitions, of which no script sees more than one; so a person's
// holds are noted once more, under a key by person (allow.lua says how).
//
// A reservation notes a claim first, which is a hold's or nobody's afterwards:
// so nobody ever holds more than they may, whichever instances they ask at once.
// Each call has a claim of its own and takes back no other, unless it has found
// the hold that they all stand for: calls with one Idempotency-Key come to one hold.
// What counts too much (a process that died in between, an answer that was lost)
// does so until the deadline, and where it was bought or given back, until
// it would be the cause of a refusal: receipts are looked at before that.
type people struct {
	maxHolds, maxLapses int64
	cooldown            time.Duration

	mu    sync.Mutex
	lives map[int64]time.Duration // how long holds of a drop last, of drops that Redis knows
}

// newPeople is nil where there are no limits.
func newPeople(cfg Config) *people {
	if cfg.MaxHoldsPerUser <= 0 && cfg.CooldownLapses <= 0 {
		return nil
	}
	p := &people{maxHolds: max(0, cfg.MaxHoldsPerUser), maxLapses: max(0, cfg.CooldownLapses), lives: map[int64]time.Duration{}}
	if p.maxLapses > 0 {
		p.cooldown = cfg.Cooldown
	}
	return p
}

// WaitError is a refusal that a person may come back from by themselves.
type WaitError struct {
	err  error
	wait time.Duration
}

func (w *WaitError) Error() string { return fmt.Sprintf("%v for %v more", w.err, w.wait) }

// Unwrap is ErrTooManyHolds or ErrCoolingDown.
func (w *WaitError) Unwrap() error { return w.err }

// RetryAfter is when the person may hold one more, if they let nothing lapse
// meanwhile. Buying or giving back ends ErrTooManyHolds before that.
func (w *WaitError) RetryAfter() time.Duration { return w.wait }

// reserveWithin reserves within the limits of what one person may hold.
func (e *Engine) reserveWithin(ctx context.Context, r ReserveRequest) (Reservation, error) {
	life, err := e.lifeOf(ctx, r.Drop)
	if errors.Is(err, ErrDropNotFound) {
		return e.reserves.do(ctx, r.Drop, r) // it says whether there is none, or the data is lost and not back
	}
	if err != nil {
		return Reservation{}, err
	}
	claim := claimOf(r)
	earlier, err := e.allow(ctx, r.User, claim, life)
	if err != nil {
		if e.keyed(ctx, r) {
			return e.reserves.do(ctx, r.Drop, r) // the hold that the key has already: it counts
		}
		return Reservation{}, err
	}
	res, err := e.reserves.do(ctx, r.Drop, r)
	switch {
	case err == nil:
		e.note(ctx, r.User, &res, append(earlier, claim)...)
	case errors.Is(err, ErrUnavailable) && !nothingDone(err), errors.Is(err, ErrCorrupt):
		// It may be a hold's: it stands for as long as that could last.
	default:
		e.note(ctx, r.User, nil, claim)
	}
	return res, err
}

// nothingDone says whether it is certain of a call that failed that it holds nothing.
func nothingDone(err error) bool {
	return errors.Is(err, ErrFenced) || errors.Is(err, errNotSent) || lua.NotBegun(err)
}

// claimOf names a claim. allow.lua sees by the name which are of one key.
func claimOf(r ReserveRequest) string {
	if r.Key == "" {
		return "c:" + rand.Text()
	}
	return "k:" + strconv.FormatInt(r.Drop, 10) + ":" + r.Key + ":" + rand.Text()
}

// lifeOf is how long the drop's holds last, which never changes.
func (e *Engine) lifeOf(ctx context.Context, drop int64) (time.Duration, error) {
	p := e.people
	p.mu.Lock()
	life, ok := p.lives[drop]
	p.mu.Unlock()
	if ok {
		return life, nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	ms, err := e.redis.HGet(ctx, e.keys.drop(drop), "hold").Int64()
	if errors.Is(err, redis.Nil) {
		return 0, ErrDropNotFound
	}
	if err != nil {
		return 0, unavailable(err)
	}
	life = time.Duration(ms) * time.Millisecond
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lives[drop] = life
	return life, nil
}

// patience is how long a reservation without a deadline of its own is taken to
// be under way at most.
const patience = time.Minute

// allow notes the claim and returns the earlier ones of its key. Its errors are a
// *WaitError, ErrUnavailable and ErrOverloaded.
func (e *Engine) allow(ctx context.Context, user int64, claim string, life time.Duration) (earlier []string, err error) {
	underWay := patience
	if deadline, ok := ctx.Deadline(); ok {
		underWay = max(0, time.Until(deadline))
	}
	args := lua.AllowArgs{
		Person: e.keys.user(user), Claim: claim,
		MaxHolds: e.people.maxHolds, MaxLapses: e.people.maxLapses, RememberedMS: e.people.cooldown.Milliseconds(),
		StandsForMS: (life + underWay + e.cfg.CallTimeout).Milliseconds(), // a batch that is sent goes on after its callers
	}
	for tries := 1; ; tries++ { // one for each limit, once what was settled does not count
		callCtx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
		reply, err := lua.Allow(callCtx, e.redis, args)
		cancel()
		if err != nil {
			return nil, unavailable(err)
		}
		refusal := &WaitError{wait: time.Duration(reply.WaitMS) * time.Millisecond}
		switch reply.Allowance {
		case lua.Allowed:
			return reply.Members, nil
		case lua.TooManyHolds:
			refusal.err = ErrTooManyHolds
		case lua.CoolingDown:
			refusal.err = ErrCoolingDown
		default:
			return nil, fmt.Errorf("%w: allow.lua answered %d", ErrCorrupt, reply.Allowance)
		}
		if tries > 2 || !e.forgetSettled(ctx, user, reply.Members) {
			return nil, refusal
		}
	}
}

// forgetSettled takes out what counts against a person and was bought or given
// back all the same, and says whether there was any.
func (e *Engine) forgetSettled(ctx context.Context, user int64, counted []string) bool {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	receipts := make(map[string]*redis.BoolCmd, len(counted))
	_, _ = e.redis.Pipelined(ctx, func(p redis.Pipeliner) error { // the commands have the errors
		for _, member := range counted {
			if id, err := strconv.ParseInt(member, 10, 64); err == nil {
				receipts[member] = p.HExists(ctx, e.keys.sold(DropOf(id)), strconv.FormatInt(seqOf(id), 10))
			}
		}
		return nil
	})
	var settled []any
	for member, receipt := range receipts {
		if receipt.Val() {
			settled = append(settled, member)
		}
	}
	return len(settled) > 0 && e.redis.ZRem(ctx, e.keys.user(user), settled...).Err() == nil
}

// keyed says whether the request's key has its hold already.
func (e *Engine) keyed(ctx context.Context, r ReserveRequest) bool {
	if r.Key == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	return e.redis.HExists(ctx, e.keys.idem(r.Drop), r.Key).Val()
}

// note puts a hold in the place of its claims; without a hold it takes the claims
// back. If that fails, they count for as long as the hold could last.
func (e *Engine) note(ctx context.Context, user int64, hold *Reservation, claims ...string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.cfg.CallTimeout)
	defer cancel()
	key := e.keys.user(user)
	_, err := e.redis.Pipelined(ctx, func(p redis.Pipeliner) error { // in this order: cut short it counts one too many, for a moment
		if hold != nil {
			p.ZAdd(ctx, key, redis.Z{Score: float64(hold.Deadline.UnixMilli()), Member: hold.ID})
			// Should the claim have been lost, and the key with it.
			p.ExpireNX(ctx, key, MaxHold+e.people.cooldown)
		}
		p.ZRem(ctx, key, claims)
		return nil
	})
	if err != nil {
		e.log.Debug("a claim was left to lapse", "user", user, "err", err)
	}
}

// heldNoMore notes that a hold was bought or given back.
func (e *Engine) heldNoMore(ctx context.Context, r Reservation, err error) {
	if e.people == nil || err != nil || r.User == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.cfg.CallTimeout)
	defer cancel()
	if err := e.redis.ZRem(ctx, e.keys.user(r.User), r.ID).Err(); err != nil {
		e.log.Debug("a hold that has ended was left to lapse", "reservation", r.ID, "err", err)
	}
}
