package fault

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// How far back a fault may make Redis forget what it acknowledged.
const (
	// forgetsUnsynced: with appendfsync everysec Redis writes its file at most two
	// seconds late (while an fsync goes on); half a second for a busy machine.
	forgetsUnsynced = 2500 * time.Millisecond
	// forgetsLag: a primary of the Sentinels acknowledges nothing once its
	// replicas are further behind than min-replicas-max-lag, two seconds, which
	// it counts in whole ones. A cluster has no such setting here (see the
	// harness); its replicas stand beside their masters and are held to the same.
	forgetsLag = 3 * time.Second
	// forgetsAll: nothing of Redis is left. What is lost all the same is only what
	// the writers had not brought to Postgres: see loss.unwritten.
	forgetsAll = time.Hour
)

// loss is what one fault may have lost. Times are Unix ns.
type loss struct {
	back time.Duration // how far back from its beginning
	from int64         // when it began: just before the injection
	to   int64         // when nothing of its was acknowledged in vain any more

	// unwritten is, by drop, when the oldest of what waited for the writer just
	// before was done; from, if nothing waited. What was done earlier
	// had been in Postgres, which forgets nothing. A drop whose ledger could not be
	// read is not in it.
	unwritten map[int64]int64
}

// excuses tells whether the fault may have lost what Redis did to a drop in
// that time. ledger: it had gone into the ledger, for Postgres; a hold does not
// before it ends.
func (l loss) excuses(drop, from, to int64, ledger bool) bool {
	since := l.from - l.back.Nanoseconds()
	if oldest, ok := l.unwritten[drop]; ok && ledger {
		since = max(since, oldest-lossSlack.Nanoseconds())
	}
	return to >= since && from <= l.to
}

// lossSlack is how far the clock of a buyer and that of the ledger's ids, which
// are cut to milliseconds, can be apart.
const lossSlack = 10 * time.Millisecond

// excused tells whether any of the faults may have lost an acknowledged
// operation. What counts is when Redis did it: an instance that was stopped
// may tell its client much later.
func (r *ran) excused(o op) bool {
	from, to := o.Call, o.Return
	if o.At != 0 {
		from, to = o.At*1e6, o.At*1e6+999_999
	}
	for _, l := range r.losses {
		if l.excuses(o.Drop, from, to, o.Kind != reserve) {
			return true
		}
	}
	return false
}

// unwritten reads what waits for the writer, in the form of loss.unwritten.
func (w *world) unwritten(drops []sale) map[int64]int64 {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
	defer cancel()
	out := map[int64]int64{}
	for _, d := range drops {
		asked := time.Now().UnixNano()
		oldest, err := w.redis.XRangeN(ctx, w.key(d.ID%partitions, "ledger"), "-", "+", 1).Result()
		if err != nil {
			continue
		}
		out[d.ID] = asked
		if len(oldest) == 0 {
			continue
		}
		ms, _, _ := strings.Cut(oldest[0].ID, "-")
		at, err := strconv.ParseInt(ms, 10, 64)
		if err != nil {
			delete(out, d.ID)
			continue
		}
		out[d.ID] = min(asked, at*1e6-w.skew.Nanoseconds())
	}
	return out
}
