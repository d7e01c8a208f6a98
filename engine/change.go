package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/holdfast/holdfast/lua"
)

// NoLimit is the limit per customer that takes a limit away again: nobody can
// reach it, and units go on being counted by person, so that another limit may follow.
const NoLimit = MaxStock

// Change changes the terms of a drop. What is nil or empty stays as it is.
type Change struct {
	// Number is one more than that of the change before (Stock.Change); greater
	// where numbers were skipped. Required.
	Number int64
	// Mark tells the change from another one with its number, which who numbers them has
	// lost. Defaults to none.
	Mark string
	// State pauses, resumes (StateOpen) or ends the drop. Ended is final.
	State State
	// Start may be moved until it has come. Any time: a past one starts the drop.
	Start *time.Time
	// End is after the start and after now; the zero time: open end.
	End *time.Time
	// Limit is at least 1, or NoLimit.
	Limit *int64
	// BeforeStart has the change refused once the drop has started.
	BeforeStart bool
	// Totals are the sizes whose stock changes, with what each has then: available,
	// held and sold together. Sold of a SizeStock is not used.
	Totals []SizeStock
}

// Decision is what came of a change, and how the drop's terms are since.
type Decision struct {
	// Refusal is nil if the change was made, else ErrEnded, ErrAlreadyStarted, ErrNotEnough,
	// ErrUnknownSize, ErrBadTimes, ErrNotCounted, or ErrCorrupt where the counters of a size
	// whose stock was to change do not add up.
	Refusal error
	// Known says that an earlier call had it decided.
	Known bool
	// Epoch is the one in which it was decided.
	Epoch   int64
	At      time.Time // by Redis's clock
	Version int64
	State   State
	Start   time.Time
	End     time.Time
	Limit   int64
	Totals  []SizeStock // of all sizes
}

var changeErrors = map[lua.ChangeOutcome]error{
	lua.ChangeEnded:       ErrEnded,
	lua.ChangeStarted:     ErrAlreadyStarted,
	lua.ChangeNotEnough:   ErrNotEnough,
	lua.ChangeUnknownSize: ErrUnknownSize,
	lua.ChangeBadTimes:    ErrBadTimes,
	lua.ChangeUncounted:   ErrNotCounted,
	lua.ChangeCorrupt:     ErrCorrupt,
}

// Change has a change decided, once: a repeat with the same number and mark gets the same
// decision, whatever it asks for, and changes nothing.
//
// Errors: ErrDropNotFound, ErrInvalid, ErrOvertaken where a change with a greater number, or
// another one with this, was decided; ErrUnavailable: the outcome is unknown, repeat it with its number;
// ErrFenced: nothing happened; ErrCorrupt.
func (e *Engine) Change(ctx context.Context, drop int64, c Change) (Decision, error) {
	if drop < 1 || drop > MaxDropID {
		return Decision{}, ErrDropNotFound
	}
	if err := c.validate(drop); err != nil {
		return Decision{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	args := e.changeArgs(drop, c)
	var reply lua.ChangeReply
	var epoch int64
	err := e.inEpoch(ctx, e.keys.partition(drop), func(token string) (err error) {
		args.Token = token
		epoch, _ = strconv.ParseInt(token, 10, 64) // as inEpoch wrote it
		reply, err = lua.Change(ctx, e.redis, args)
		return err
	}, nil)
	e.outlook.forget(drop)
	if err != nil {
		return Decision{}, err
	}
	if reply.Outcome == lua.ChangeNoDrop {
		return Decision{}, ErrDropNotFound
	}
	if reply.Outcome == lua.ChangeOvertaken {
		return Decision{}, fmt.Errorf("change %d of drop %d: %w", c.Number, drop, ErrOvertaken)
	}
	d := Decision{
		Refusal: changeErrors[reply.Outcome], Known: reply.Known, Epoch: epoch,
		At: fromUnixMS(reply.NowMS), Version: reply.Version, State: State(reply.State),
		Start: fromUnixMS(reply.StartMS), End: fromUnixMS(reply.EndMS), Limit: reply.Limit,
	}
	if d.Refusal == nil && reply.Outcome != lua.ChangeMade {
		return Decision{}, fmt.Errorf("%w: change.lua answered %d", ErrCorrupt, reply.Outcome)
	}
	for _, t := range reply.Totals {
		d.Totals = append(d.Totals, SizeStock{Size: t.Size, Stock: t.Total})
	}
	return d, nil
}

func (e *Engine) changeArgs(drop int64, c Change) lua.ChangeArgs {
	p := e.keys.partition(drop)
	args := lua.ChangeArgs{
		Meta: e.keys.meta(p), DropKey: e.keys.drop(drop), Events: e.keys.events(p),
		Drop: drop, Number: c.Number, Mark: c.Mark, BeforeStart: c.BeforeStart, State: string(c.State), Limit: c.Limit,
	}
	ms := func(t *time.Time) *int64 {
		if t == nil {
			return nil
		}
		n := unixMS(*t)
		return &n
	}
	args.StartMS, args.EndMS = ms(c.Start), ms(c.End)
	for _, s := range c.Totals {
		args.Totals = append(args.Totals, lua.ChangeTotal{Size: s.Size, Total: s.Stock})
	}
	return args
}

func (s State) known() bool { return s == StateOpen || s == StatePaused || s == StateEnded }

func (c Change) validate(drop int64) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: change %d of drop %d: %s", ErrInvalid, c.Number, drop, fmt.Sprintf(format, args...))
	}
	switch {
	case c.Number < 1:
		return invalid("number")
	case c.State != "" && !c.State.known():
		return invalid("state %q", c.State)
	case c.Limit != nil && (*c.Limit < 1 || *c.Limit > NoLimit):
		return invalid("limit %d", *c.Limit)
	case len(c.Totals) > MaxSizes:
		return invalid("%d sizes", len(c.Totals))
	}
	var sum int64
	seen := make(map[string]bool, len(c.Totals))
	for _, s := range c.Totals {
		if s.Stock < 0 || s.Stock > MaxStock || seen[s.Size] {
			return invalid("stock %d of size %q", s.Stock, s.Size)
		}
		seen[s.Size] = true
		sum += s.Stock
	}
	if sum > MaxStock {
		return invalid("stock of %d over all sizes", sum)
	}
	return nil
}

// Tell has everybody look at the terms of a drop anew: what stands elsewhere than
// in Redis has changed. The version is the drop's.
func (e *Engine) Tell(ctx context.Context, drop, version int64, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	event, err := json.Marshal(struct {
		Drop    int64  `json:"d"`
		Version int64  `json:"v"`
		AtMS    int64  `json:"t"`
		Reason  Reason `json:"r"`
	}{drop, version, at.UnixMilli(), ReasonChanged})
	if err != nil {
		return err
	}
	return unavailable(e.redis.Publish(ctx, e.keys.events(e.keys.partition(drop)), event).Err())
}

// Steer puts terms back that were decided before and that Redis lacks: all of
// them, with the number of the newest change. Level comes after.
func (r *Rebuild) Steer(ctx context.Context, d Drop) error {
	if err := d.validate(); err != nil {
		return err
	}
	args := r.e.changeArgs(d.ID, Change{
		Number: d.Change, State: d.State, Start: &d.Start, End: &d.End, Limit: &d.Limit, Totals: d.Sizes,
	})
	args.Token, args.Force = r.token, true
	return r.call(ctx, func(ctx context.Context) error {
		_, err := lua.Change(ctx, r.e.redis, args)
		return err
	})
}
