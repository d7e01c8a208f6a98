package lua

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Fenced says whether err is a script's refusal to work in the caller's epoch,
// or on this server. Nothing was done then.
func Fenced(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "HFFENCED ")
}

// ClaimToken is the token of a rebuild that has the claim on the server.
func ClaimToken(server, claim string) string { return server + ":" + claim }

// EpochReply is what epoch.lua says of a partition.
type EpochReply struct {
	Epoch    int64  // admitted last; 0: none is known
	Server   string // replication id of the server that answered
	Previous string // the one it had before its promotion; zeros: none
	Admitted bool   // the epoch was admitted on this very server
}

// Epoch runs epoch.lua.
func Epoch(ctx context.Context, c redis.Scripter, meta string) (EpochReply, error) {
	res, err := epoch.Run(ctx, c, []string{meta}).Slice()
	if err != nil {
		return EpochReply{}, err
	}
	if len(res) != 4 {
		return EpochReply{}, fmt.Errorf("epoch.lua: %d values, want 4", len(res))
	}
	number, ok1 := res[0].(int64)
	server, ok2 := res[1].(string)
	previous, ok3 := res[2].(string)
	admitted, ok4 := res[3].(int64)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return EpochReply{}, fmt.Errorf("epoch.lua: reply %v", res)
	}
	return EpochReply{Epoch: number, Server: server, Previous: previous, Admitted: admitted == 1}, nil
}

// Claiming is what claim.lua answers.
type Claiming int64

// Replies of Claim.
const (
	Claimed        Claiming = 1
	ClaimedByOther Claiming = 0
	OtherServer    Claiming = -1
)

// Claim runs claim.lua.
func Claim(ctx context.Context, c redis.Scripter, meta, server, name string, patienceMS int64, renew bool, seen int64) (Claiming, error) {
	again := 0
	if renew {
		again = 1
	}
	code, err := claim.Run(ctx, c, []string{meta}, server, name, patienceMS, again, seen).Int64()
	return Claiming(code), err
}

// Admit runs admit.lua.
func Admit(ctx context.Context, c redis.Scripter, meta, token string, number int64) error {
	return admit.Run(ctx, c, []string{meta}, token, number).Err()
}

// Unclaim runs unclaim.lua.
func Unclaim(ctx context.Context, c redis.Scripter, meta, token string) error {
	return unclaim.Run(ctx, c, []string{meta}, token).Err()
}

// Forget runs forget.lua.
func Forget(ctx context.Context, c redis.Scripter, meta, token, dropKey string) error {
	return forget.Run(ctx, c, []string{meta, dropKey}, token).Err()
}

// RestoreArgs are purchases of one drop.
type RestoreArgs struct {
	Meta, Token                      string
	DropKey, Deadlines, Buyers, Sold string
	HoldPrefix                       string
	Purchases                        []RestorePurchase
}

// RestorePurchase is one purchase, as a ledger record.
type RestorePurchase struct {
	Seq    int64
	Record string
}

// Restore runs restore.lua.
func Restore(ctx context.Context, c redis.Scripter, a RestoreArgs) (restored, odd int64, err error) {
	argv := make([]any, 0, 2+2*len(a.Purchases))
	argv = append(argv, a.Token, a.HoldPrefix)
	for _, p := range a.Purchases {
		argv = append(argv, p.Seq, p.Record)
	}
	n, err := restore.Run(ctx, c, []string{a.Meta, a.DropKey, a.Deadlines, a.Buyers, a.Sold}, argv...).Int64Slice()
	if err != nil {
		return 0, 0, err
	}
	if len(n) != 2 {
		return 0, 0, fmt.Errorf("restore.lua: %d values, want 2", len(n))
	}
	return n[0], n[1], nil
}

// LevelArgs say how many holds there are of each size of a drop.
type LevelArgs struct {
	Meta, Token     string
	DropKey, Events string
	Drop, Floor     int64
	Force           bool // write also where units are short
	Sizes           []LevelSize
}

// LevelSize is what was counted of one size. Sold is -1 where that was not.
type LevelSize struct {
	Size       string
	Held, Sold int64
}

// LevelReply says whether a counter was wrong, and by how many units holds and
// sales exceed the stock of a size.
type LevelReply struct {
	Changed bool
	Short   map[string]int64 // by size
}

// Level runs level.lua.
func Level(ctx context.Context, c redis.Scripter, a LevelArgs) (LevelReply, error) {
	force := 0
	if a.Force {
		force = 1
	}
	argv := make([]any, 0, 5+3*len(a.Sizes))
	argv = append(argv, a.Token, a.Drop, a.Events, a.Floor, force)
	for _, s := range a.Sizes {
		argv = append(argv, s.Size, s.Held, s.Sold)
	}
	res, err := level.Run(ctx, c, []string{a.Meta, a.DropKey}, argv...).Slice()
	if err != nil || len(res) == 0 {
		return LevelReply{}, err
	}
	changed, ok := res[0].(int64)
	if !ok || len(res)%2 != 1 {
		return LevelReply{}, fmt.Errorf("level.lua: reply %v", res)
	}
	reply := LevelReply{Changed: changed == 1, Short: map[string]int64{}}
	for i := 1; i < len(res); i += 2 {
		units, size, err := codeAndText("level.lua", res[i], res[i+1])
		if err != nil {
			return LevelReply{}, err
		}
		reply.Short[size] = units
	}
	return reply, nil
}

// LedgerEntry names one entry of a ledger by its id and its first record.
type LedgerEntry struct{ ID, First string }

// Confirm runs confirm.lua: the epoch that is admitted on the server, 0 if
// none is, and for each entry whether it is there.
func Confirm(ctx context.Context, c redis.Scripter, meta, ledger string, entries []LedgerEntry) (epoch int64, here []bool, err error) {
	argv := make([]any, 0, 2*len(entries))
	for _, e := range entries {
		argv = append(argv, e.ID, e.First)
	}
	n, err := confirm.Run(ctx, c, []string{meta, ledger}, argv...).Int64Slice()
	if err != nil {
		return 0, nil, err
	}
	if len(n) != 1+len(entries) {
		return 0, nil, fmt.Errorf("confirm.lua: %d values for %d entries", len(n), len(entries))
	}
	here = make([]bool, len(entries))
	for i := range here {
		here[i] = n[1+i] == 1
	}
	return n[0], here, nil
}

// Done runs done.lua.
func Done(ctx context.Context, c redis.Scripter, meta, ledger, token, group string, ids []string) error {
	argv := make([]any, 0, 2+len(ids))
	argv = append(argv, token, group)
	for _, id := range ids {
		argv = append(argv, id)
	}
	return done.Run(ctx, c, []string{meta, ledger}, argv...).Err()
}
