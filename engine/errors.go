package engine

import "errors"

// The refusals and failures of the engine. A refusal leaves no trace in
// Redis. Test with errors.Is.
var (
	ErrDropNotFound        = errors.New("drop not found")
	ErrReservationNotFound = errors.New("reservation not found")

	ErrOutOfStock   = errors.New("out of stock")
	ErrNotStarted   = errors.New("drop has not started")
	ErrEnded        = errors.New("drop has ended")
	ErrPaused       = errors.New("drop is paused")
	ErrLimitReached = errors.New("limit per customer reached")
	// ErrTooManyHolds: the person holds as many units as one may, over all drops.
	ErrTooManyHolds = errors.New("too many units held at once")
	// ErrCoolingDown: the person has let as many holds lapse lately as one may.
	ErrCoolingDown = errors.New("too many holds were let lapse")
	// ErrChallengeRequired: the drop holds units only for who has passed a challenge.
	ErrChallengeRequired = errors.New("challenge required")
	ErrSizeRequired      = errors.New("this drop is sold by size: size is required")
	ErrUnknownSize       = errors.New("the drop has no such size")
	// ErrExhausted: the drop has handed out all of its reservation ids.
	ErrExhausted = errors.New("drop has no reservation ids left")
	// ErrIdempotencyConflict: the key was used with another user or size.
	ErrIdempotencyConflict = errors.New("idempotency key was used for another request")

	// The refusals of a change: the drop has started, and this is to be done before;
	// fewer units are available than are to be taken away; it would end before it
	// starts or before now; a limit on a drop that had none, of which units are taken.
	ErrAlreadyStarted = errors.New("drop has started")
	ErrNotEnough      = errors.New("not as many units are available")
	ErrBadTimes       = errors.New("drop would end before it starts, or before now")
	ErrNotCounted     = errors.New("units were taken while the drop had no limit")
	// ErrOvertaken: a change with a greater number, or another one with this, was decided meanwhile.
	ErrOvertaken = errors.New("a later change was decided")

	// ErrExpired, ErrCancelled and ErrCompleted say how a reservation ended
	// that the caller wanted to end in another way.
	ErrExpired   = errors.New("reservation expired")
	ErrCancelled = errors.New("reservation was cancelled")
	ErrCompleted = errors.New("reservation was purchased")

	// ErrOverloaded: a bounded queue is full, the ledger is long, or Redis's
	// memory is nearly full. Nothing was done.
	ErrOverloaded = errors.New("overloaded")
	// ErrUnavailable: Redis did not answer, or refused for a reason of its
	// own. The outcome of a change is unknown: repeat it with its key.
	ErrUnavailable = errors.New("redis unavailable")
	// ErrFenced: the partition's Redis has changed (a restart, a fail-over, data
	// lost) and has not been compared with the history yet. Nothing was done.
	ErrFenced = errors.New("partition is fenced")
	// ErrCorrupt: counters or members disagree; nothing was written. A bug or
	// a foreign hand in Redis: an operator has to look.
	ErrCorrupt = errors.New("conservation violated")

	// ErrInvalid wraps every complaint about a caller's arguments.
	ErrInvalid = errors.New("invalid argument")
	// ErrExists: the drop is open already with other terms.
	ErrExists = errors.New("drop exists with other terms")
)
