package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/lua"
)

// Ledger reads the partitions' ledger streams for one consumer of the group
// that brings them to Postgres. Delivery is at least once: an entry stays
// until Done, and Claim takes over what a dead consumer left.
//
// Its blocking reads use a client of their own, so that they never take a
// connection from the reserve path.
type Ledger struct {
	redis    redis.UniversalClient
	keys     keys
	group    string
	consumer string
}

// LedgerInfo says how far a ledger, or several together, is behind.
type LedgerInfo struct {
	Length int64 // entries not yet persisted
	// Oldest is when the oldest of them was written; zero if there is none.
	Oldest time.Time
	// Dead is the number of entries in the dead-letter stream.
	Dead int64
}

// ledgerGroup is the consumer group of the write-behind writers.
const ledgerGroup = "persist"

// Ledger gives access to the ledger as the named consumer. A name that is the
// same after a restart gets its own entries back at once (Own); those of others
// are claimed after their idle time.
// client must allow blocking reads (ReadTimeout is extended by go-redis).
func (e *Engine) Ledger(client redis.UniversalClient, consumer string) *Ledger {
	return &Ledger{redis: client, keys: e.keys, group: ledgerGroup, consumer: consumer}
}

// Confirm says in which epoch the partition's server is served (0: it is
// fenced) and which of the entries it has, in one step. Entries that were read
// from a server which has been replaced since are not here.
func (l *Ledger) Confirm(ctx context.Context, partition int, entries []Entry) (epoch int64, here []bool, err error) {
	named := make([]lua.LedgerEntry, len(entries))
	for i, e := range entries {
		named[i] = lua.LedgerEntry{ID: e.ID, First: e.first}
	}
	epoch, here, err = lua.Confirm(ctx, l.redis, l.keys.meta(partition), l.keys.ledger(partition), named)
	return epoch, here, unavailable(err)
}

// Partitions is the number of ledgers.
func (l *Ledger) Partitions() int { return l.keys.partitions }

// Init creates the partition's consumer group at the beginning of the stream,
// if it is not there. Redis refuses that when its memory is full, even for a
// group that exists: Read tells then whether it does.
func (l *Ledger) Init(ctx context.Context, partition int) error {
	err := l.redis.XGroupCreateMkStream(ctx, l.keys.ledger(partition), l.group, "0").Err()
	if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") && !strings.HasPrefix(err.Error(), "OOM ") {
		return unavailable(err)
	}
	return nil
}

// Read returns up to count entries that no consumer has got yet, waiting up
// to block for the first (block ≤ 0: not waiting). None is no error.
// A group that is gone (FLUSHALL) is made again.
func (l *Ledger) Read(ctx context.Context, partition int, count int64, block time.Duration) ([]Entry, error) {
	return l.read(ctx, partition, ">", count, block)
}

// Own returns up to count entries after the given id ("0-0" at first) that this
// consumer was given and has not finished: what an earlier life of it had in hand.
func (l *Ledger) Own(ctx context.Context, partition int, after string, count int64) ([]Entry, error) {
	return l.read(ctx, partition, after, count, -1)
}

func (l *Ledger) read(ctx context.Context, partition int, after string, count int64, block time.Duration) ([]Entry, error) {
	if block <= 0 {
		block = -1 // go-redis: no BLOCK; 0 would wait for ever
	}
	ask := func() ([]redis.XStream, error) {
		return l.redis.XReadGroup(ctx, &redis.XReadGroupArgs{
			Group: l.group, Consumer: l.consumer,
			Streams: []string{l.keys.ledger(partition), after},
			Count:   count, Block: block,
		}).Result()
	}
	res, err := ask()
	if err != nil && strings.HasPrefix(err.Error(), "NOGROUP") {
		if err := l.Init(ctx, partition); err != nil {
			return nil, err
		}
		res, err = ask()
	}
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil
	case err != nil:
		return nil, unavailable(err)
	}
	return decodeEntries(res[0].Messages), nil
}

// Claim takes over up to count entries that another consumer (or an earlier
// life of this one) was given and has not finished for minIdle. cursor is "0-0" at
// first, then what the last call returned; "0-0" again means the round is done.
func (l *Ledger) Claim(ctx context.Context, partition int, cursor string, count int64, minIdle time.Duration) ([]Entry, string, error) {
	msgs, next, err := l.redis.XAutoClaim(ctx, &redis.XAutoClaimArgs{
		Stream: l.keys.ledger(partition), Group: l.group, Consumer: l.consumer,
		MinIdle: minIdle, Start: cursor, Count: count,
	}).Result()
	switch {
	case err != nil && strings.HasPrefix(err.Error(), "NOGROUP"):
		return nil, "0-0", l.Init(ctx, partition)
	case err != nil:
		return nil, cursor, unavailable(err)
	}
	return decodeEntries(msgs), next, nil
}

// Done takes entries off the ledger that are safe elsewhere, in the epoch in
// which they were confirmed. Call it only after the commit. It returns
// ErrFenced when another epoch has begun: nothing was done.
func (l *Ledger) Done(ctx context.Context, partition int, epoch int64, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	token := strconv.FormatInt(epoch, 10)
	err := lua.Done(ctx, l.redis, l.keys.meta(partition), l.keys.ledger(partition), token, l.group, ids)
	if lua.Fenced(err) {
		return fmt.Errorf("%w: partition %d is not in epoch %d any more", ErrFenced, partition, epoch)
	}
	return unavailable(err)
}

// DeadLetter keeps a record that can not be persisted, with the entry it came
// from and the reason, in the partition's dead-letter stream.
// A repeat after a crash may keep it twice; it is never dropped.
func (l *Ledger) DeadLetter(ctx context.Context, partition int, entryID, record, reason string) error {
	return unavailable(lua.DeadLetter(ctx, l.redis, l.keys.dead(partition), entryID, record, reason))
}

// Info says how far each partition's ledger is behind.
func (l *Ledger) Info(ctx context.Context) ([]LedgerInfo, error) {
	return ledgerInfo(ctx, l.redis, l.keys)
}

// LedgerInfo says how far all partitions' ledgers together are behind.
func (e *Engine) LedgerInfo(ctx context.Context) (LedgerInfo, error) {
	each, err := ledgerInfo(ctx, e.redis, e.keys)
	var all LedgerInfo
	for _, info := range each {
		all.Length += info.Length
		all.Dead += info.Dead
		if all.Oldest.IsZero() || !info.Oldest.IsZero() && info.Oldest.Before(all.Oldest) {
			all.Oldest = info.Oldest
		}
	}
	return all, err
}

// ledgerInfo asks for all partitions in one round trip.
func ledgerInfo(ctx context.Context, client redis.UniversalClient, k keys) ([]LedgerInfo, error) {
	lengths := make([]*redis.IntCmd, k.partitions)
	dead := make([]*redis.IntCmd, k.partitions)
	first := make([]*redis.XMessageSliceCmd, k.partitions)
	_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for p := range k.partitions {
			lengths[p] = pipe.XLen(ctx, k.ledger(p))
			dead[p] = pipe.XLen(ctx, k.dead(p))
			first[p] = pipe.XRangeN(ctx, k.ledger(p), "-", "+", 1)
		}
		return nil
	})
	if err != nil {
		return nil, unavailable(err)
	}
	info := make([]LedgerInfo, k.partitions)
	for p := range info {
		info[p] = LedgerInfo{Length: lengths[p].Val(), Dead: dead[p].Val()}
		var ms int64
		if waits := first[p].Val(); len(waits) == 1 {
			if _, err := fmt.Sscanf(waits[0].ID, "%d-", &ms); err == nil {
				info[p].Oldest = time.UnixMilli(ms).UTC()
			}
		}
	}
	return info, nil
}
