// Package lua holds the atomic scripts of the engine, one file a script, and
// one typed Go function for each. Each file's header says what the script
// does, its KEYS and ARGV, and what it returns.
//
// The functions send EVALSHA and, where the server does not know the script
// (a restart, SCRIPT FLUSH, a new master), EVAL. Errors are those of go-redis.
package lua

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed open.lua
	openSource string
	//go:embed reserve.lua
	reserveSource string
	//go:embed settle.lua
	settleSource string
	//go:embed release.lua
	releaseSource string
	//go:embed lookup.lua
	lookupSource string
	//go:embed dead.lua
	deadSource string
	//go:embed epoch.lua
	epochSource string
	//go:embed claim.lua
	claimSource string
	//go:embed admit.lua
	admitSource string
	//go:embed restore.lua
	restoreSource string
	//go:embed level.lua
	levelSource string
	//go:embed forget.lua
	forgetSource string
	//go:embed unclaim.lua
	unclaimSource string
	//go:embed confirm.lua
	confirmSource string
	//go:embed done.lua
	doneSource string
	//go:embed allow.lua
	allowSource string

	open    = newScript(openSource)
	reserve = newScript(reserveSource)
	settle  = newScript(settleSource)
	release = newScript(releaseSource)
	lookup  = newScript(lookupSource)
	dead    = newScript(deadSource)
	epoch   = newScript(epochSource)
	claim   = newScript(claimSource)
	admit   = newScript(admitSource)
	restore = newScript(restoreSource)
	level   = newScript(levelSource)
	forget  = newScript(forgetSource)
	unclaim = newScript(unclaimSource)
	confirm = newScript(confirmSource)
	done    = newScript(doneSource)
	allow   = newScript(allowSource)
)

// Opening is what open.lua answers.
type Opening int64

// Replies of Open.
const (
	Opened     Opening = 1
	SameTerms  Opening = 2
	OtherTerms Opening = -1
)

// Refusal is why reserve.lua gives no unit.
type Refusal int64

// Refusals of Reserve.
const (
	DropNotFound        Refusal = -1
	NotStarted          Refusal = -2
	Ended               Refusal = -3
	Paused              Refusal = -4
	OutOfStock          Refusal = -5
	LimitReached        Refusal = -6
	SizeRequired        Refusal = -7
	UnknownSize         Refusal = -8
	IdempotencyConflict Refusal = -9
	Exhausted           Refusal = -10
	Overloaded          Refusal = -11
	ChallengeRequired   Refusal = -12
)

// Settlement is what settle.lua answers about one hold.
type Settlement int64

// Replies of Settle.
const (
	Settled           Settlement = 1
	SettledBefore     Settlement = 2
	EndedOtherwise    Settlement = 3
	SettleLapsed      Settlement = -1
	SettleNeverIssued Settlement = -2
	SettleNoDrop      Settlement = -3
	SettleCorrupt     Settlement = -4
)

// Standing is what lookup.lua answers about one hold.
type Standing int64

// Replies of Lookup.
const (
	StandsLive        Standing = 1
	StandsSettled     Standing = 2
	StandsLapsed      Standing = 3
	StandsNeverIssued Standing = -2
	StandsNoDrop      Standing = -3
)

// OpenArgs are the terms of a drop. Times are Unix ms.
type OpenArgs struct {
	Meta, Token          string
	DropKey, Events      string // Events empty: nobody is told
	Drop                 int64
	StartMS, EndMS       int64
	HoldMS, Limit, First int64
	Sized, Challenge     bool
	State                string // empty: open
	Change               int64  // the newest that is included
	Sizes                []OpenSize
}

// OpenSize is the stock of one size.
type OpenSize struct {
	Size        string
	Total, Sold int64
}

// Open runs open.lua.
func Open(ctx context.Context, c redis.Scripter, a OpenArgs) (Opening, error) {
	sized, challenge := 0, 0
	if a.Sized {
		sized = 1
	}
	if a.Challenge {
		challenge = 1
	}
	state := a.State
	if state == "" {
		state = "open"
	}
	argv := make([]any, 0, 12+3*len(a.Sizes))
	argv = append(argv, a.Token, a.Drop, a.StartMS, a.EndMS, a.HoldMS, a.Limit, sized, a.First, a.Events, state, a.Change, challenge)
	for _, s := range a.Sizes {
		argv = append(argv, s.Size, s.Total, s.Sold)
	}
	code, err := open.Run(ctx, c, []string{a.Meta, a.DropKey}, argv...).Int64()
	return Opening(code), err
}

// ReserveArgs asks for one unit for each item.
type ReserveArgs struct {
	Meta, Token                              string
	DropKey, Deadlines, Buyers, Idem, Ledger string
	HoldPrefix, Events                       string
	Drop, MaxSeq, MaxLedger                  int64
	Items                                    []ReserveItem
}

// ReserveItem is one person's wish.
type ReserveItem struct {
	User int64
	Size string
	Key  string
	// Passed says that the person has passed a challenge, where the drop demands one.
	Passed bool
}

// ReserveReply has one result for each item.
type ReserveReply struct {
	NowMS, DeadlineMS int64
	Version, StartMS  int64 // of the drop; the version after the batch
	Sized             bool
	Results           []ReserveResult
}

// reserveHead is how many values come before the results.
const reserveHead = 5

// ReserveResult is a new hold (Seq > 0), a hold that the same key got before
// (Before not empty), or a refusal.
type ReserveResult struct {
	Seq     int64
	Before  string
	Refusal Refusal
}

// Reserve runs reserve.lua.
func Reserve(ctx context.Context, c redis.Scripter, a ReserveArgs) (ReserveReply, error) {
	argv := make([]any, 0, 6+4*len(a.Items))
	argv = append(argv, a.Token, a.Drop, a.HoldPrefix, a.Events, a.MaxSeq, a.MaxLedger)
	for i := range a.Items {
		passed := ""
		if a.Items[i].Passed {
			passed = "1"
		}
		argv = append(argv, a.Items[i].User, a.Items[i].Size, a.Items[i].Key, passed)
	}
	keys := []string{a.Meta, a.DropKey, a.Deadlines, a.Buyers, a.Idem, a.Ledger}
	res, err := reserve.Run(ctx, c, keys, argv...).Slice()
	if err != nil {
		return ReserveReply{}, err
	}
	if len(res) != reserveHead+len(a.Items) {
		return ReserveReply{}, fmt.Errorf("reserve.lua: %d results for %d items", len(res)-reserveHead, len(a.Items))
	}
	var head [reserveHead]int64
	for i := range head {
		head[i], _ = res[i].(int64)
	}
	reply := ReserveReply{
		NowMS: head[0], DeadlineMS: head[1], Version: head[2], StartMS: head[3], Sized: head[4] == 1,
		Results: make([]ReserveResult, len(a.Items)),
	}
	for i, v := range res[reserveHead:] {
		switch v := v.(type) {
		case string:
			reply.Results[i].Before = v
		case int64:
			if v > 0 {
				reply.Results[i].Seq = v
			} else {
				reply.Results[i].Refusal = Refusal(v)
			}
		default:
			return ReserveReply{}, fmt.Errorf("reserve.lua: result of type %T", v)
		}
	}
	return reply, nil
}

// SettleArgs asks to end holds of one drop.
type SettleArgs struct {
	Meta, Token                              string
	DropKey, Deadlines, Buyers, Sold, Ledger string
	HoldPrefix, Events                       string
	Drop                                     int64
	Purchase                                 bool // else cancel
	Seqs                                     []int64
	Owners                                   []int64 // of each of Seqs, 0: anyone; nil: anyone of all
}

// SettleResult is the outcome for one sequence number; Record is a ledger
// record where Code is positive.
type SettleResult struct {
	Code   Settlement
	Record string
}

// Settle runs settle.lua.
func Settle(ctx context.Context, c redis.Scripter, a SettleArgs) ([]SettleResult, error) {
	kind := "c"
	if a.Purchase {
		kind = "p"
	}
	argv := make([]any, 0, 5+2*len(a.Seqs))
	argv = append(argv, a.Token, kind, a.Drop, a.HoldPrefix, a.Events)
	for i, seq := range a.Seqs {
		var owner int64
		if a.Owners != nil {
			owner = a.Owners[i]
		}
		argv = append(argv, seq, owner)
	}
	keys := []string{a.Meta, a.DropKey, a.Deadlines, a.Buyers, a.Sold, a.Ledger}
	res, err := settle.Run(ctx, c, keys, argv...).Slice()
	if err != nil {
		return nil, err
	}
	if len(res) != 2*len(a.Seqs) {
		return nil, fmt.Errorf("settle.lua: %d values for %d holds", len(res), len(a.Seqs))
	}
	out := make([]SettleResult, len(a.Seqs))
	for i := range out {
		code, record, err := codeAndText("settle.lua", res[2*i], res[2*i+1])
		if err != nil {
			return nil, err
		}
		out[i] = SettleResult{Settlement(code), record}
	}
	return out, nil
}

// ReleaseArgs asks to release the lapsed holds of a partition.
type ReleaseArgs struct {
	Meta, Token                      string
	Deadlines, Ledger, Dead          string
	DropPrefix, BuyersPrefix, Events string
	Most                             int64
}

// ReleaseReply says what was released and when to come again.
type ReleaseReply struct {
	Released int64
	NextMS   int64 // until the next deadline; -1: no live hold
	LateMS   int64 // by which the oldest release was late
	Dead     int64
}

// Release runs release.lua.
func Release(ctx context.Context, c redis.Scripter, a ReleaseArgs) (ReleaseReply, error) {
	n, err := release.Run(ctx, c, []string{a.Meta, a.Deadlines, a.Ledger, a.Dead},
		a.Token, a.DropPrefix, a.BuyersPrefix, a.Events, a.Most).Int64Slice()
	if err != nil {
		return ReleaseReply{}, err
	}
	if len(n) != 4 {
		return ReleaseReply{}, fmt.Errorf("release.lua: %d values, want 4", len(n))
	}
	return ReleaseReply{Released: n[0], NextMS: n[1], LateMS: n[2], Dead: n[3]}, nil
}

// LookupArgs names one hold.
type LookupArgs struct {
	DropKey, Deadlines, Sold, Hold string
	Drop, Seq, Most                int64
	Owner                          int64 // 0: anyone
}

// Lookup runs lookup.lua. The text is a hold's description or a ledger record,
// as the script's header says.
func Lookup(ctx context.Context, c redis.Scripter, a LookupArgs) (Standing, string, error) {
	res, err := lookup.Run(ctx, c, []string{a.DropKey, a.Deadlines, a.Sold, a.Hold}, a.Drop, a.Seq, a.Most, a.Owner).Slice()
	if err != nil {
		return 0, "", err
	}
	if len(res) != 2 {
		return 0, "", fmt.Errorf("lookup.lua: %d values, want 2", len(res))
	}
	code, text, err := codeAndText("lookup.lua", res[0], res[1])
	return Standing(code), text, err
}

// DeadLetter runs dead.lua.
func DeadLetter(ctx context.Context, c redis.Scripter, stream, entry, record, reason string) error {
	return dead.Run(ctx, c, []string{stream}, entry, record, reason).Err()
}

func codeAndText(script string, code, text any) (int64, string, error) {
	c, ok1 := code.(int64)
	s, ok2 := text.(string)
	if !ok1 || !ok2 {
		return 0, "", fmt.Errorf("%s: reply of types %T, %T", script, code, text)
	}
	return c, s, nil
}
