package fault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Where Redis may forget what it acknowledged (a fail-over to a replica that
// lags, FLUSHALL), no order of all operations explains what buyers saw, and none
// is promised: accepted work can be lost, and is then reported. What is sound to
// check there:
//
//   - The history up to the moment before the fault. Loss comes after it, and
//     any beginning of a linearizable history is linearizable, if what had not
//     returned by then counts as of unknown outcome (before).
//   - The history from a snapshot on, which is taken of Redis in one step once
//     the drop is served again, while buyers go on. It begins with the holds that
//     the snapshot has; what was under way at its moment counts by whether the
//     snapshot has it, or not at all (after).
//   - Of the time between: that nothing acknowledged vanished without a report,
//     or was of a time that the fault cannot reach (losses.go), nothing was sold
//     twice, no id repeats, both stores agree (ends.go).
//
// How long is between: where the old server is dead, until another serves the
// drop. Where it was emptied, or comes back with less, until it serves again.
// Where it was paused, cut off or demoted, it may answer somebody beside the
// new one: refusals and reads do not tell whose they are, so the snapshot comes
// only when the old server follows the new one, and the first seconds of that
// one's sale are not tried for an order.
//
// To drop the lost operations from one long history would not do: reads and
// refusals before the fault have seen their effects.

// before is what had been called until a moment.
func before(ops []op, at int64) []op {
	out := make([]op, 0, len(ops))
	for _, o := range ops {
		switch {
		case o.Call >= at:
			continue
		case o.Return < at:
		case o.Kind == stock || !o.acknowledged() && o.Result != unknown:
			continue // of no effect, and not answered yet
		default:
			o.Result, o.Return = unknown, never
			if o.Kind == reserve {
				o.ID, o.Deadline, o.At = 0, 0, 0
			}
		}
		out = append(out, o)
	}
	return out
}

// snapshot is a drop as Redis has it in one moment, between from and to.
type snapshot struct {
	from, to int64 // Unix ns
	holds    map[int64]known
	keys     map[string]int64 // Idempotency-Key → reservation
}

// after is what was done from a snapshot on, and the sale that it begins with.
// What was under way at the snapshot, and is neither in it nor in the stores
// afterwards (fates), was done by the server that is gone: an instance that was
// stopped can tell so much later. It is lost, which ends.go judges.
func after(s sale, ops []op, snap snapshot, fates map[int64]fate) (sale, []op) {
	var out []op
	given := map[int64]bool{}
	for _, o := range ops {
		if o.Kind == stock && o.earliest() < snap.to {
			continue // what it saw may be of before
		}
		if o.Call >= snap.to {
			out = append(out, o)
			given[o.ID] = given[o.ID] || o.Kind == reserve
			continue
		}
		if o.Return < snap.from && o.Result != unknown {
			continue
		}
		// Under way at the snapshot, or of unknown outcome and perhaps still to come.
		o.Call = max(o.Call, snap.from)
		switch o.Kind {
		case reserve:
			if _, ok := snap.keys[o.Key]; ok {
				continue
			}
			if o.ID != 0 {
				_, had := snap.holds[o.ID]
				if _, has := fates[o.ID]; had || !has {
					continue
				}
			} else if o.Result != unknown {
				continue // refused before or after
			}
			given[o.ID] = true
		case purchase, cancel:
			wanted, ended := sold, "completed"
			if o.Kind == cancel {
				wanted, ended = cancelled, "cancelled"
			}
			if o.acknowledged() && (snap.holds[o.ID].Status == wanted || fates[o.ID].Status != ended) || !o.acknowledged() && o.Result != unknown {
				continue
			}
		case stock: // left out above
		}
		out = append(out, o)
	}
	// Holds that the snapshot has not, and that somebody still asks for, have
	// lapsed, or are lost, which for their people is the same.
	holds := make(map[int64]known, len(snap.holds))
	for id, k := range snap.holds {
		holds[id] = k
	}
	for _, o := range out {
		if _, ok := holds[o.ID]; !ok && !given[o.ID] && o.Kind != stock && o.ID != 0 {
			holds[o.ID] = known{ID: o.ID, Status: lapsed, Size: s.Sizes[0]}
		}
	}
	for _, k := range holds {
		s.Known = append(s.Known, k)
	}
	slices.SortFunc(s.Known, func(a, b known) int { return cmp.Compare(a.ID, b.ID) })
	return s, out
}

// withSeen adds to the fates what a snapshot saw and the stores may have
// forgotten since.
func withSeen(fates map[int64]fate, snap snapshot) map[int64]fate {
	out := maps.Clone(fates)
	for id, k := range snap.holds {
		f, ok := out[id]
		switch {
		case k.Status == sold:
			f = fate{Status: "completed", Ended: k.Ended}
		case k.Status == cancelled:
			f = fate{Status: "cancelled", Ended: k.Ended}
		case !ok:
			f = fate{Status: "active"}
		}
		f.User, f.Size, f.Key, f.Created, f.Deadline = k.User, k.Size, k.Key, k.Created, k.Deadline
		out[id] = f
	}
	return out
}

// errFenced: the partition is not served yet.
var errFenced = errors.New("the partition is fenced")

// snapshotScript reads a drop in one step; nothing while its partition is fenced.
var snapshotScript = redis.NewScript(`
local m = redis.call('HMGET', KEYS[1], 'server', 'claim')
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if m[1] ~= server or m[2] then return {} end
local time = redis.call('TIME')
return { time[1] * 1000 + math.floor(time[2] / 1000), redis.call('ZRANGE', KEYS[2], 0, -1),
  redis.call('HVALS', KEYS[3]), redis.call('HGETALL', KEYS[4]) }
`)

// snapshot reads a drop in one step; errFenced, wrapped, while its partition is not served.
func (w *world) snapshot(ctx context.Context, d sale) (snapshot, error) {
	partition := d.ID % partitions
	snap := snapshot{from: time.Now().UnixNano(), holds: map[int64]known{}, keys: map[string]int64{}}
	reply, err := snapshotScript.Run(ctx, w.redis, []string{
		w.key(partition, "meta"), w.key(partition, "deadlines"), w.dropKey(d.ID, "sold"), w.dropKey(d.ID, "idem"),
	}).Slice()
	snap.to = time.Now().UnixNano()
	if err != nil {
		return snap, err
	}
	if len(reply) == 0 {
		return snap, fmt.Errorf("%w: %d", errFenced, partition)
	}
	now, ok := reply[0].(int64)
	var lists [3][]string
	for i := range lists {
		items, isList := reply[1+i].([]any)
		ok = ok && isList
		for _, item := range items {
			lists[i] = append(lists[i], fmt.Sprint(item))
		}
	}
	if !ok {
		return snap, fmt.Errorf("snapshot: %v", reply)
	}
	members, receipts, idem := lists[0], lists[1], lists[2]
	put := func(text string, status byte) error {
		k, of, err := parseMember(text)
		if err != nil || of != d.ID {
			return err
		}
		if status == live && k.Deadline <= now {
			status = due
		}
		k.Status = status
		if status == lapsed {
			if _, ok := snap.holds[k.ID]; ok {
				return nil
			}
		}
		snap.holds[k.ID] = k
		return nil
	}
	for _, m := range members {
		if err := put(m, live); err != nil {
			return snap, err
		}
	}
	for _, record := range receipts { // ended:kind:member
		f := strings.SplitN(record, ":", 3)
		status := sold
		if f[1] == "c" {
			status = cancelled
		}
		if err := put(f[2], status); err != nil {
			return snap, err
		}
		k, _, _ := parseMember(f[2])
		if k, ok := snap.holds[k.ID]; ok {
			k.Ended, _ = strconv.ParseInt(f[0], 10, 64)
			snap.holds[k.ID] = k
		}
	}
	for i := 0; i+1 < len(idem); i += 2 {
		key, m := idem[i], idem[i+1]
		if err := put(m, lapsed); err != nil {
			return snap, err
		}
		k, _, _ := parseMember(m)
		snap.keys[key] = k.ID
		if held, ok := snap.holds[k.ID]; ok {
			held.Key = key
			snap.holds[k.ID] = held
		}
	}
	return snap, nil
}

// parseMember reads drop:seq:user:created:deadline:size.
func parseMember(text string) (k known, drop int64, err error) {
	f := strings.SplitN(text, ":", 6)
	if len(f) != 6 {
		return k, 0, fmt.Errorf("member %q", text)
	}
	var n [5]int64
	for i := range n {
		if n[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return k, 0, fmt.Errorf("member %q: %w", text, err)
		}
	}
	return known{ID: n[0]<<29 | n[1], User: n[2], Created: n[3], Deadline: n[4], Size: f[5]}, n[0], nil
}
