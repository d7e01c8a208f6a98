package lua

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Allowance is what allow.lua answers.
type Allowance int64

// Replies of Allow.
const (
	Allowed      Allowance = 1
	TooManyHolds Allowance = -1
	CoolingDown  Allowance = -2
)

// AllowArgs asks whether a person may hold one more unit. Times are ms.
type AllowArgs struct {
	Person, Claim             string
	MaxHolds, MaxLapses       int64
	RememberedMS, StandsForMS int64
}

// MostAllowed is the greatest MaxHolds and MaxLapses: allow.lua names no more of
// what counts.
const MostAllowed = 1000

// AllowReply is the answer; WaitMS comes with a refusal.
type AllowReply struct {
	Allowance
	WaitMS int64
	// Members are the earlier claims of the same Idempotency-Key if the answer is
	// Allowed, else what counts against the person; MostAllowed at most.
	Members []string
}

// Allow runs allow.lua.
func Allow(ctx context.Context, c redis.Scripter, a AllowArgs) (AllowReply, error) {
	res, err := allow.Run(ctx, c, []string{a.Person}, a.Claim, a.MaxHolds, a.MaxLapses, a.RememberedMS, a.StandsForMS).Slice()
	if err != nil {
		return AllowReply{}, err
	}
	if len(res) < 2 {
		return AllowReply{}, fmt.Errorf("allow.lua: %d values, want 2 or more", len(res))
	}
	verdict, _ := res[0].(int64)
	wait, _ := res[1].(int64)
	reply := AllowReply{Allowance: Allowance(verdict), WaitMS: wait}
	for _, member := range res[2:] {
		if m, ok := member.(string); ok {
			reply.Members = append(reply.Members, m)
		}
	}
	return reply, nil
}
