package persist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast/holdfast/engine"
)

// SteeringConfig configures a Steering.
type SteeringConfig struct {
	// Engine decides the changes. Required.
	Engine *engine.Engine
	// Store keeps them. Required.
	Store *Store
	// Webhooks hear of drops that are sold out since units were taken away: the same as
	// the writer's. Defaults to none.
	Webhooks []Subscription
	// Log gets changes that cannot be finished. Defaults to slog.Default().
	Log *slog.Logger
}

// Steering changes drops, in Redis and in Postgres:
//
//  1. the change is written to Postgres with a number, and units that are added are
//     let pass by the guard against overselling;
//  2. Redis decides it, once by its number;
//  3. Postgres takes over what Redis decided, with the entry in the log.
//
// Whoever finds a change that was begun goes on with it from 2: a later change
// of the drop, a repeat, or a Reconciler. So it does not matter who dies when.
type Steering struct {
	cfg    SteeringConfig
	outbox outbox
}

// NewSteering makes a Steering.
func NewSteering(cfg SteeringConfig) (*Steering, error) {
	if cfg.Engine == nil || cfg.Store == nil {
		return nil, errors.New("persist: SteeringConfig.Engine and Store are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Steering{cfg: cfg, outbox: newOutbox(cfg.Webhooks)}, nil
}

// steeringTries is how many changes of others one change goes on with before its
// turn comes.
const steeringTries = 50

// Change changes a drop. With a key, a repeat gets the outcome of the first call,
// with replayed set.
//
// Refusals: engine.ErrDropNotFound, ErrEnded, ErrAlreadyStarted, ErrNotEnough,
// ErrSizeRequired, ErrUnknownSize, ErrBadTimes, ErrNotCounted, ErrCorrupt, ErrIdempotencyConflict,
// ErrOverloaded, and ErrTooMuch. ErrUnavailable, engine.ErrUnavailable and ErrFenced: the outcome is unknown; a repeat with
// the key gets it, and what was begun is made within seconds all the same.
func (s *Steering) Change(ctx context.Context, drop int64, c Change, by By, key string) (replayed bool, err error) {
	for range steeringTries {
		u, replayed, err := s.cfg.Store.beginChange(ctx, drop, c, by, key)
		switch {
		case errors.Is(err, errOtherUnderWay):
			if _, err := s.finish(ctx, u); err != nil {
				return false, err
			}
			continue
		case errors.Is(err, ErrNotFound):
			return false, engine.ErrDropNotFound
		case err != nil:
			return false, err
		}
		outcome := u.outcome
		if outcome == "" {
			if outcome, err = s.finish(ctx, u); err != nil {
				return false, err
			}
		}
		return replayed, refusal(outcome)
	}
	return false, fmt.Errorf("%w: others change drop %d without a pause", engine.ErrOverloaded, drop)
}

// finish has a change decided and noted, and gives its outcome.
func (s *Steering) finish(ctx context.Context, u underWay) (outcome string, err error) {
	const tries = 3 // a rebuild may come between the two stores
	for range tries {
		var d engine.Decision
		d, err = s.cfg.Engine.Change(ctx, u.drop, u.engineChange())
		if errors.Is(err, engine.ErrOvertaken) {
			var done bool
			if u, done, err = s.overtaken(ctx, u); done || err != nil {
				return u.outcome, err
			}
			err = engine.ErrOvertaken // unless the next try is better
			continue
		}
		if err != nil {
			return "", err
		}
		err = s.cfg.Store.confirmChange(ctx, s.cfg.Engine.Partition(u.drop), u, d, s.outbox)
		if errors.Is(err, ErrStaleEpoch) {
			continue
		}
		if err != nil {
			return "", err
		}
		// Who watches saw Redis change, and may have read Postgres before it followed.
		if err := s.cfg.Engine.Tell(ctx, u.drop, d.Version, d.At); err != nil {
			s.cfg.Log.Warn("a change of a drop could not be told of; it is seen at the next reading", "drop", u.drop, "err", err)
		}
		break
	}
	if errors.Is(err, ErrStaleEpoch) || errors.Is(err, engine.ErrOvertaken) {
		return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	done, err := s.cfg.Store.change(ctx, u.drop, u.number)
	switch {
	case errors.Is(err, ErrNotFound):
		err = anotherNumber(u)
	case err == nil && done.outcome == "":
		err = fmt.Errorf("%w: change %d of drop %d has no outcome", ErrUnavailable, u.number, u.drop)
	}
	return done.outcome, err
}

// overtaken looks why a change was: somebody else has finished it; or Postgres has lost
// changes that Redis has decided, in a fail-over or a restore, so that its numbers are behind.
// Then the change gets a number above them.
func (s *Steering) overtaken(ctx context.Context, u underWay) (_ underWay, done bool, err error) {
	now, err := s.cfg.Store.change(ctx, u.drop, u.number)
	if errors.Is(err, ErrNotFound) {
		err = anotherNumber(u)
	}
	if err != nil || now.outcome != "" {
		return now, true, err
	}
	stock, err := s.cfg.Engine.Stock(ctx, []int64{u.drop})
	if err != nil {
		return u, false, err
	}
	if stock[0] == nil {
		return u, false, engine.ErrDropNotFound
	}
	number := max(stock[0].Change, u.number) + 1
	s.cfg.Log.Error("Postgres has lost changes of a drop that Redis has decided; the next one is numbered above them",
		"drop", u.drop, "change", u.number, "in_redis", stock[0].Change, "now", number)
	if err := s.cfg.Store.renumber(ctx, u, number); err != nil {
		return u, false, err
	}
	now.number = number
	return now, false, nil
}

// anotherNumber is the error of who goes on with a change to which somebody else gave a number.
func anotherNumber(u underWay) error {
	return fmt.Errorf("%w: change %d of drop %d has another number now", ErrUnavailable, u.number, u.drop)
}

// cutShortAfter is the age from which on a change that is not finished counts as
// cut short. To finish one too early does no harm.
const cutShortAfter = time.Second

// FinishCutShort finishes the changes that were begun and not finished, on
// partitions that are served.
func (s *Steering) FinishCutShort(ctx context.Context) error {
	list, err := s.cfg.Store.cutShort(ctx, cutShortAfter)
	if err != nil {
		return err
	}
	var errs []error
	for _, begun := range list {
		if s.cfg.Engine.Epoch(s.cfg.Engine.Partition(begun.drop)) == 0 {
			continue // after its rebuild
		}
		u, err := s.cfg.Store.change(ctx, begun.drop, begun.number)
		if err == nil && u.outcome == "" {
			_, err = s.finish(ctx, u)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("finish change %d of drop %d: %w", begun.number, begun.drop, err))
		}
	}
	return errors.Join(errs...)
}
