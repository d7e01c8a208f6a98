package lua

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed change.lua
	changeSource string

	change = newScript(changeSource)
)

// ChangeOutcome is what change.lua answers.
type ChangeOutcome int64

// Outcomes of Change. All but ChangeMade are refusals; ChangeNoDrop and
// ChangeOvertaken are not remembered.
const (
	ChangeMade        ChangeOutcome = 1
	ChangeNoDrop      ChangeOutcome = -1
	ChangeEnded       ChangeOutcome = -2
	ChangeStarted     ChangeOutcome = -3
	ChangeNotEnough   ChangeOutcome = -4
	ChangeUnknownSize ChangeOutcome = -5
	ChangeBadTimes    ChangeOutcome = -6
	ChangeUncounted   ChangeOutcome = -7
	ChangeOvertaken   ChangeOutcome = -8
	ChangeCorrupt     ChangeOutcome = -9
)

// ChangeArgs change the terms of a drop.
type ChangeArgs struct {
	Meta, Token           string
	DropKey, Events       string
	Drop, Number          int64
	Force, BeforeStart    bool
	State                 string // empty: as it is
	StartMS, EndMS, Limit *int64 // nil: as it is
	Mark                  string // tells the change from another one with its number
	Totals                []ChangeTotal
}

// ChangeTotal is the stock of one size: held and sold units included.
type ChangeTotal struct {
	Size  string
	Total int64
}

// ChangeReply is the outcome, and the drop after it; of ChangeNoDrop the outcome alone.
type ChangeReply struct {
	Outcome               ChangeOutcome
	Known                 bool // it was decided before
	NowMS, Version        int64
	State                 string
	StartMS, EndMS, Limit int64
	Totals                []ChangeTotal // of all sizes
}

// Change runs change.lua.
func Change(ctx context.Context, c redis.Scripter, a ChangeArgs) (ChangeReply, error) {
	flag := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	optional := func(n *int64) string {
		if n == nil {
			return ""
		}
		return strconv.FormatInt(*n, 10)
	}
	argv := make([]any, 0, 11+2*len(a.Totals))
	argv = append(argv, a.Token, a.Drop, a.Events, a.Number, flag(a.Force), flag(a.BeforeStart),
		a.State, optional(a.StartMS), optional(a.EndMS), optional(a.Limit), a.Mark)
	for _, t := range a.Totals {
		argv = append(argv, t.Size, t.Total)
	}
	res, err := change.Run(ctx, c, []string{a.Meta, a.DropKey}, argv...).Slice()
	if err != nil {
		return ChangeReply{}, err
	}
	return readChange(res)
}

// changeHead is how many values come before the sizes.
const changeHead = 8

func readChange(res []any) (ChangeReply, error) {
	malformed := func() (ChangeReply, error) { return ChangeReply{}, fmt.Errorf("change.lua: reply %v", res) }
	number := func(v any) (n int64, ok bool) {
		switch v := v.(type) {
		case int64:
			return v, true
		case string:
			n, err := strconv.ParseInt(v, 10, 64)
			return n, err == nil
		}
		return 0, false
	}
	if len(res) == 0 {
		return malformed()
	}
	outcome, ok := number(res[0])
	if !ok {
		return malformed()
	}
	r := ChangeReply{Outcome: ChangeOutcome(outcome)}
	if r.Outcome == ChangeNoDrop {
		return r, nil
	}
	if len(res) < changeHead || (len(res)-changeHead)%2 != 0 {
		return malformed()
	}
	var known int64
	for i, to := range map[int]*int64{1: &known, 2: &r.NowMS, 3: &r.Version, 5: &r.StartMS, 6: &r.EndMS, 7: &r.Limit} {
		if *to, ok = number(res[i]); !ok {
			return malformed()
		}
	}
	r.Known = known == 1
	if r.State, ok = res[4].(string); !ok {
		return malformed()
	}
	for i := changeHead; i < len(res); i += 2 {
		total, size, err := codeAndText("change.lua", res[i+1], res[i])
		if err != nil {
			return ChangeReply{}, err
		}
		r.Totals = append(r.Totals, ChangeTotal{size, total})
	}
	return r, nil
}
