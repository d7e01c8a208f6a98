package engine

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/holdfast/holdfast/lua"
)

// Open opens a drop. Opening it again with the same terms changes nothing;
// with others it is ErrExists. A drop that breaks a limit is ErrInvalid.
// ErrFenced: nothing happened, come again later.
func (e *Engine) Open(ctx context.Context, d Drop) error {
	args, err := e.openArgs(d)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	var opening lua.Opening
	err = e.inEpoch(ctx, e.keys.partition(d.ID), func(token string) (err error) {
		args.Token = token
		opening, err = lua.Open(ctx, e.redis, args)
		return err
	}, nil)
	e.outlook.forget(d.ID)
	if err != nil {
		return err
	}
	if opening == lua.OtherTerms {
		return fmt.Errorf("drop %d: %w", d.ID, ErrExists)
	}
	return nil
}

func (e *Engine) openArgs(d Drop) (lua.OpenArgs, error) {
	if err := d.validate(); err != nil {
		return lua.OpenArgs{}, err
	}
	args := lua.OpenArgs{
		Meta:    e.keys.meta(e.keys.partition(d.ID)),
		DropKey: e.keys.drop(d.ID), Events: e.keys.events(e.keys.partition(d.ID)),
		Drop: d.ID, StartMS: unixMS(d.Start), EndMS: unixMS(d.End),
		HoldMS: d.Hold.Milliseconds(), Limit: d.Limit, First: max(d.FirstSeq, 1),
		State: string(d.State), Change: d.Change,
		Sized:     d.Sizes[0].Size != "",
		Challenge: d.Challenge,
	}
	for _, s := range d.Sizes {
		args.Sizes = append(args.Sizes, lua.OpenSize{Size: s.Size, Total: s.Stock, Sold: s.Sold})
	}
	return args, nil
}

// unixMS is t in Unix milliseconds, 0 for the zero time.
func unixMS(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromUnixMS(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func (d Drop) validate() error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: drop %d: %s", ErrInvalid, d.ID, fmt.Sprintf(format, args...))
	}
	switch {
	case d.ID < 1 || d.ID > MaxDropID:
		return invalid("id is not in 1 … %d", MaxDropID)
	case d.Hold < MinHold || d.Hold > MaxHold:
		return invalid("hold of %v is not in %v … %v", d.Hold, MinHold, MaxHold)
	case d.Limit < 0:
		return invalid("negative limit")
	case d.State != "" && !d.State.known(), d.Change < 0:
		return invalid("state %q after change %d", d.State, d.Change)
	case d.FirstSeq < 0 || d.FirstSeq > maxSeq:
		return invalid("first sequence number %d", d.FirstSeq)
	case !d.End.IsZero() && !d.End.After(d.Start):
		return invalid("ends before it starts")
	case len(d.Sizes) == 0 || len(d.Sizes) > MaxSizes:
		return invalid("%d sizes, want 1 … %d", len(d.Sizes), MaxSizes)
	}
	var total int64
	seen := make(map[string]bool, len(d.Sizes))
	for _, s := range d.Sizes {
		switch {
		case s.Size == "" && len(d.Sizes) > 1:
			return invalid("a size without a name")
		case !validSize(s.Size):
			return invalid("size %q", s.Size)
		case seen[s.Size]:
			return invalid("size %q twice", s.Size)
		case s.Stock < 1 && d.Change == 0, s.Stock < 0, s.Stock > MaxStock: // a change may have taken all of it away
			return invalid("stock %d of size %q", s.Stock, s.Size)
		case s.Sold < 0 || s.Sold > s.Stock:
			return invalid("sold %d of %d of size %q", s.Sold, s.Stock, s.Size)
		}
		seen[s.Size] = true
		total += s.Stock
	}
	if total > MaxStock {
		return invalid("total stock %d over %d", total, MaxStock)
	}
	return nil
}

// validSize says whether a size may stand in a hold's description and in JSON.
func validSize(size string) bool {
	if len(size) > MaxSize || !utf8.ValidString(size) {
		return false
	}
	for i := range len(size) {
		if size[i] < ' ' || size[i] == 0x7f {
			return false
		}
	}
	return true
}
