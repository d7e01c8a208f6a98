package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/holdfast/holdfast/lua"
)

// ErrBusy is returned while another process sets the partition right.
var ErrBusy = errors.New("another process rebuilds the partition")

// claimPatience is how long a rebuild that says nothing keeps others away; Hold
// has it say something three times as often.
const claimPatience = 3 * time.Second

// Rebuild is the right to set one partition right, alone: until Admit it is
// fenced for everybody else, this engine's own calls included. Each method
// returns ErrFenced once the right is lost: to another server, or because the
// holder was silent for three seconds and another took over. Nothing was done
// then.
type Rebuild struct {
	// Standing is where the partition stood before.
	Standing Standing

	e         *Engine
	partition int
	name      string
	token     string
}

// BeginRebuild fences a partition that stands as the caller has seen, and gives
// the right to set it right. It returns ErrBusy while another process has that,
// or if one has admitted the partition since; ErrFenced if the server is another
// by now; and ErrUnavailable.
func (e *Engine) BeginRebuild(ctx context.Context, partition int, seen Standing) (*Rebuild, error) {
	r := &Rebuild{Standing: seen, e: e, partition: partition, name: rand.Text()}
	r.token = lua.ClaimToken(seen.Server, r.name)
	return r, r.claim(ctx, false)
}

func (r *Rebuild) claim(ctx context.Context, renew bool) error {
	ctx, cancel := context.WithTimeout(ctx, r.e.cfg.CallTimeout)
	defer cancel()
	claiming, err := lua.Claim(ctx, r.e.redis, r.e.keys.meta(r.partition), r.Standing.Server, r.name, claimPatience.Milliseconds(), renew, r.Standing.Epoch)
	switch {
	case err != nil:
		return unavailable(err)
	case claiming == lua.ClaimedByOther:
		return fmt.Errorf("%w: %d", ErrBusy, r.partition)
	case claiming == lua.OtherServer:
		return fmt.Errorf("%w: partition %d has another server, or lost its data", ErrFenced, r.partition)
	}
	return nil
}

// Hold keeps the claim until ctx ends, however long the holder waits for
// something else. It returns early with an error when the claim is lost.
func (r *Rebuild) Hold(ctx context.Context) error {
	tick := time.NewTicker(claimPatience / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := r.claim(ctx, true); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// Abandon gives the claim up, if it is not lost: the partition stays fenced,
// and the next rebuild may begin at once.
func (r *Rebuild) Abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.e.cfg.CallTimeout)
	defer cancel()
	_ = lua.Unclaim(ctx, r.e.redis, r.e.keys.meta(r.partition), r.token) // else it runs out by itself
}

// Forget takes a drop's counters away that cannot be read. Receipts and holds stay.
func (r *Rebuild) Forget(ctx context.Context, drop int64) error {
	return r.call(ctx, func(ctx context.Context) error {
		return lua.Forget(ctx, r.e.redis, r.e.keys.meta(r.partition), r.token, r.e.keys.drop(drop))
	})
}

// call makes one call with the claim.
func (r *Rebuild) call(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.e.cfg.CallTimeout)
	defer cancel()
	err := do(ctx)
	if lua.Fenced(err) {
		return fmt.Errorf("%w: the claim on partition %d is lost", ErrFenced, r.partition)
	}
	return unavailable(err)
}

// Open opens a drop that Redis lacks; nobody is told before Level.
func (r *Rebuild) Open(ctx context.Context, d Drop) error {
	args, err := r.e.openArgs(d)
	if err != nil {
		return err
	}
	args.Token, args.Events = r.token, ""
	return r.call(ctx, func(ctx context.Context) error {
		opening, err := lua.Open(ctx, r.e.redis, args)
		if err == nil && opening == lua.OtherTerms {
			return fmt.Errorf("%w: drop %d: %w", ErrInvalid, d.ID, ErrExists)
		}
		return err
	})
}

// MaxRestore is how many purchases one call of Restore takes.
const MaxRestore = 1000

// Restore puts purchases of one drop back that Redis lacks, at most
// MaxRestore; those that it has are left alone. odd counts those that
// contradict what Redis has.
func (r *Rebuild) Restore(ctx context.Context, drop int64, purchases []End) (restored, odd int64, err error) {
	k := r.e.keys
	args := lua.RestoreArgs{
		Meta: k.meta(r.partition), Token: r.token,
		DropKey: k.drop(drop), Deadlines: k.deadlines(r.partition), Buyers: k.buyers(drop), Sold: k.sold(drop),
		HoldPrefix: k.holdPrefix(drop), Purchases: make([]lua.RestorePurchase, len(purchases)),
	}
	for i, p := range purchases {
		args.Purchases[i] = lua.RestorePurchase{Seq: seqOf(p.ID), Record: Record(p)}
	}
	err = r.call(ctx, func(ctx context.Context) (err error) {
		restored, odd, err = lua.Restore(ctx, r.e.redis, args)
		return err
	})
	return restored, odd, err
}

// Revoke ends live holds of one drop as a cancel does, at most 64, and gives
// those that it ended.
func (r *Rebuild) Revoke(ctx context.Context, drop int64, ids []int64) ([]Reservation, error) {
	args := r.e.settleArgs(drop, false, ids)
	args.Token = r.token
	var results []lua.SettleResult
	err := r.call(ctx, func(ctx context.Context) (err error) {
		results, err = lua.Settle(ctx, r.e.redis, args)
		return err
	})
	var ended []Reservation
	for _, result := range results {
		if result.Code == lua.Settled {
			if end, err := parseEnd(result.Record); err == nil {
				ended = append(ended, end)
			}
		}
	}
	return ended, err
}

// ReleaseLapsed gives back what has lapsed, as an expirer does: nobody else may
// while the partition is fenced.
func (r *Rebuild) ReleaseLapsed(ctx context.Context) error {
	args := r.e.releaseArgs(r.partition, tallyPage)
	args.Token = r.token
	for {
		var reply lua.ReleaseReply
		err := r.call(ctx, func(ctx context.Context) (err error) {
			reply, err = lua.Release(ctx, r.e.redis, args)
			return err
		})
		if err != nil || reply.Released+reply.Dead < tallyPage {
			return err
		}
	}
}

// EachHold gives all holds of the partition, lapsed ones that are not released
// yet included, the soonest deadline first, in pages of up to 1,000.
func (r *Rebuild) EachHold(ctx context.Context, page func([]Reservation) error) error {
	for from := int64(0); ; from += tallyPage {
		var members []string
		err := r.call(ctx, func(ctx context.Context) (err error) {
			members, err = r.e.redis.ZRange(ctx, r.e.keys.deadlines(r.partition), from, from+tallyPage-1).Result()
			return err
		})
		if err != nil {
			return err
		}
		holds := make([]Reservation, 0, len(members))
		for _, member := range members {
			if hold, err := parseHold(member); err == nil { // else release.lua sets it aside
				holds = append(holds, hold)
			}
		}
		if err := page(holds); err != nil || len(members) < tallyPage {
			return err
		}
	}
}

// Sales counts the receipts of purchases of one drop, by size as it stands in them.
func (r *Rebuild) Sales(ctx context.Context, drop int64) (map[string]int64, error) {
	sales, seen := map[string]int64{}, map[int64]bool{} // HSCAN may give a field twice
	for cursor := uint64(0); ; {
		var fields []string
		err := r.call(ctx, func(ctx context.Context) (err error) {
			fields, cursor, err = r.e.redis.HScan(ctx, r.e.keys.sold(drop), cursor, "", tallyPage).Result()
			return err
		})
		if err != nil {
			return nil, err
		}
		for i := 1; i < len(fields); i += 2 {
			if end, err := parseEnd(fields[i]); err == nil && end.Status == StatusCompleted && !seen[end.ID] {
				seen[end.ID] = true
				sales[end.Size]++
			}
		}
		if cursor == 0 {
			return sales, nil
		}
	}
}

// Counted is what a rebuild has counted of one drop, by pool: size, or empty on a
// drop without sizes.
type Counted struct {
	Held map[string]int64 // holds; each pool of the drop has an entry
	Sold map[string]int64 // receipts; nil: the drop's own counters are right
	// Floor is the least value of the newest sequence number. Defaults to as it is.
	Floor int64
	// Force writes also where a pool has more holds and sales than units.
	Force bool
}

// Level sets a drop's counters right and lets new ids begin above the floor.
// Where a pool has more holds and sales than units it says by how many, and
// writes nothing unless forced: holds have to be revoked first.
func (r *Rebuild) Level(ctx context.Context, drop int64, c Counted) (changed bool, short map[string]int64, err error) {
	args := lua.LevelArgs{
		Meta: r.e.keys.meta(r.partition), Token: r.token,
		DropKey: r.e.keys.drop(drop), Events: r.e.keys.events(r.partition),
		Drop: drop, Floor: min(c.Floor, maxSeq), Force: c.Force,
	}
	for pool, held := range c.Held {
		size := lua.LevelSize{Size: pool, Held: held, Sold: -1}
		if c.Sold != nil {
			size.Sold = c.Sold[pool]
		}
		args.Sizes = append(args.Sizes, size)
	}
	var reply lua.LevelReply
	err = r.call(ctx, func(ctx context.Context) (err error) {
		reply, err = lua.Level(ctx, r.e.redis, args)
		return err
	})
	return reply.Changed, reply.Short, err
}

// Admit ends the rebuild: the partition is served in the given epoch, which
// must be greater than all before.
func (r *Rebuild) Admit(ctx context.Context, epoch int64) error {
	return r.call(ctx, func(ctx context.Context) error {
		return lua.Admit(ctx, r.e.redis, r.e.keys.meta(r.partition), r.token, epoch)
	})
}

// Partition is the partition of a drop.
func (e *Engine) Partition(drop int64) int { return e.keys.partition(drop) }

// Record is the ledger's own form of an end, as the scripts write it.
func Record(e End) string {
	kind := map[Status]string{StatusCompleted: "p", StatusCancelled: "c", StatusExpired: "x"}[e.Status]
	return strconv.FormatInt(e.Ended.UnixMilli(), 10) + ":" + kind + ":" + describe(e)
}

// describe is the description of a hold, wherever it appears.
func describe(r Reservation) string {
	return fmt.Sprintf("%d:%d:%d:%d:%d:%s", r.Drop, seqOf(r.ID), r.User, r.Created.UnixMilli(), r.Deadline.UnixMilli(), r.Size)
}
