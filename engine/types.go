package engine

import "time"

// State says whether a drop admits reservations.
type State string

// The states of a drop. Purchases, cancels and releases go on in all of them.
const (
	StateOpen   State = "open"
	StatePaused State = "paused"
	StateEnded  State = "ended"
)

// SizeStock is the stock of one size. A drop without sizes has exactly one,
// with the empty name.
type SizeStock struct {
	Size  string
	Stock int64
	// Sold is what was sold before the drop is opened; zero for a new drop,
	// more when a drop that Redis lost is opened again from the history.
	Sold int64
}

// Drop is what a drop is opened with.
type Drop struct {
	ID    int64         // 1 … MaxDropID
	Start time.Time     // no reservation before it
	End   time.Time     // no reservation from it on; zero: open end
	Hold  time.Duration // how long a unit is held, MinHold … MaxHold
	Limit int64         // units held and bought by one person; 0: no limit
	// Challenge has units held only for who has passed a challenge
	// (ReserveRequest.Passed). Defaults to false.
	Challenge bool
	Sizes     []SizeStock // one entry with the empty name: a drop without sizes
	// State is the state it begins in. Defaults to StateOpen; another where a drop that
	// Redis lost is opened again.
	State State
	// Change is the number of the newest change that is in the terms. Defaults to 0: none.
	Change int64
	// FirstSeq is the sequence number the first hold gets, at least 1.
	// Defaults to 1. Greater where a drop is opened again, so that ids never repeat.
	FirstSeq int64
}

// SizeCount is the count of one size: Available + Held + Sold == Total.
type SizeCount struct {
	Size      string
	Total     int64
	Available int64
	Held      int64
	Sold      int64
}

// Stock is the state of a drop at one version. The sums are over its sizes.
type Stock struct {
	Drop      int64
	State     State
	Version   int64 // rises by every change
	Change    int64 // number of the newest change of its terms that was decided
	LastSeq   int64 // sequence number of the newest hold: how many there were, on a drop opened once
	Start     time.Time
	End       time.Time
	Hold      time.Duration
	Limit     int64
	Total     int64
	Available int64
	Held      int64
	Sold      int64
	Sizes     []SizeCount // in the order the drop was opened with
}

// Status is where a reservation stands.
type Status string

// The statuses of a reservation. All but StatusActive are final.
const (
	StatusActive    Status = "active"
	StatusExpired   Status = "expired"
	StatusCancelled Status = "cancelled"
	StatusCompleted Status = "completed"
)

// Reservation is one hold of one unit, live or ended.
type Reservation struct {
	ID       int64
	Drop     int64
	User     int64
	Size     string // as given, also on a drop without sizes
	Status   Status
	Created  time.Time
	Deadline time.Time // when the hold lapses, or would have
	Ended    time.Time // zero while active
	// Replayed says that an earlier call had this outcome already.
	Replayed bool
}

// ReserveRequest asks for one unit of a drop.
type ReserveRequest struct {
	Drop int64
	User int64
	// Size is required on a drop with sizes. On one without it is kept with
	// the reservation and draws on the one pool.
	Size string
	// Key is the caller's idempotency token, at most MaxKey bytes; empty for
	// none. A repeat with the same key, user and size gets the same
	// reservation; with another user or size ErrIdempotencyConflict.
	Key string
	// Passed says that the person has passed a challenge.
	Passed bool
}

// Limits on what a caller may give.
const (
	MaxDropID = 1<<24 - 1
	MaxStock  = 1 << 24 // units of one drop over all sizes; ids reach twice as far
	MaxSizes  = 64
	MaxSize   = 32  // bytes of a size's name
	MaxKey    = 128 // bytes of an idempotency token
	MinHold   = 250 * time.Millisecond
	MaxHold   = 24 * time.Hour
)
