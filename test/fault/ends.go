package fault

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/test/harness"
)

// ends holds what both stores have of a drop, once all is drained, against
// what its buyers were told.
//
// Where Redis may have lost data, acknowledged work that neither store has must
// have been reported as lost, and must be of a time that the fault can reach:
// lost counts that, by kind. Only of a hold that was about to lapse anyway
// nobody is told.
func (w *world) ends(d sale, ops []op, fates map[int64]fate, ran ran, well int64) (wrong []string, lost map[string]int) {
	w.t.Helper()
	complain := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("drop %d: ", d.ID)+fmt.Sprintf(format, args...))
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()

	for _, twice := range reused(givenOf(ops, fates, ran.last[d.ID], ran.snapshots[d.ID])) {
		complain("%s", twice)
	}
	reported, lost := w.awaitReports(ctx, d, ops, fates)
	if ran.lossy == 0 && len(reported) > 0 {
		complain("lost work is reported (%v) though nothing could be lost", reported)
	}

	// Conservation in Redis, by size, with the live holds counted one by one.
	h, err := w.redis.HGetAll(ctx, w.dropKey(d.ID, "drop")).Result()
	if err != nil {
		w.t.Fatal(err)
	}
	number := func(field string) int {
		n, err := strconv.Atoi(h[field])
		if err != nil {
			complain("Redis has %q as %s", h[field], field)
		}
		return n
	}
	live, bought, sold := map[string]int{}, map[int64]int{}, map[string]int{}
	for _, f := range fates {
		switch f.Status {
		case "active":
			live[f.Size]++
			bought[f.User]++
		case "completed":
			sold[f.Size]++
			bought[f.User]++
		case "refused":
			complain("Postgres refused a purchase of user %d", f.User)
		}
	}
	for i, size := range d.Sizes {
		available, held, soldHere, total := number("a:"+size), number("h:"+size), number("s:"+size), number("t:"+size)
		if available+held+soldHere != total || total != d.Totals[i] {
			complain("size %q: available %d + held %d + sold %d is not total %d (%d)", size, available, held, soldHere, total, d.Totals[i])
		}
		if held != live[size] {
			complain("size %q: held is %d, %d holds are live", size, held, live[size])
		}
		if soldHere != sold[size] {
			complain("size %q: sold in Redis is %d, in Postgres %d", size, soldHere, sold[size])
		}
		if sold[size] > d.Totals[i] {
			complain("size %q: %d sold of %d", size, sold[size], d.Totals[i])
		}
	}
	if early, err := w.falseReports(ctx, d.ID); err != nil {
		w.t.Fatal(err)
	} else if len(early) > 0 {
		complain("%v are reported as lost, though Postgres had bought them by then", early)
	}
	if d.Limit > 0 {
		for user, n := range bought {
			if n > d.Limit {
				complain("user %d has %d, the limit is %d", user, n, d.Limit)
			}
		}
	}

	// Purchases: one a reservation, and each that was acknowledged.
	rows, err := w.db.Query(ctx, "SELECT id, user_id FROM purchases WHERE drop_id = $1", d.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	purchases := map[int64]int64{}
	for rows.Next() {
		var id, user int64
		if err := rows.Scan(&id, &user); err != nil {
			w.t.Fatal(err)
		}
		purchases[id] = user
		if fates[id].Status != "completed" {
			complain("purchase %d, whose reservation is %+v", id, fates[id])
		}
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	for _, o := range ops {
		// Between the first loss and the snapshot a drop may be gone until it is
		// put back; at no other time is it.
		amiss := ran.lossy > 0 && o.Return >= ran.lossy && o.Call <= ran.snapshots[d.ID].to+staleBound.Nanoseconds()
		if o.Kind == stock && o.Result == missing && !amiss {
			complain("Redis had lost the drop, though it could not: %v", o)
		}
	}
	told := map[int64]bool{}
	for _, o := range ops {
		if o.Kind == purchase && o.acknowledged() {
			switch _, ok := purchases[o.ID]; {
			case ok:
			case !reported[o.ID]["purchase"]:
				complain("the purchase of %d was acknowledged and is not in Postgres (%+v)", o.ID, fates[o.ID])
			case !ran.excused(o):
				complain("the purchase of %d is reported as lost, and no fault may have lost it: %v, done at %s", o.ID, o, clock(o.At*1e6))
			}
		}
		if o.Kind == reserve && o.ID != 0 {
			told[o.ID] = true
			lapsing := ran.lossy > 0 && o.Deadline*1e6 < well+reportFrom.Nanoseconds()
			_, ok := fates[o.ID]
			if !ok && len(reported[o.ID]) == 0 && !lapsing {
				complain("reservation %d was given, neither store knows it, and it is not reported as lost", o.ID)
			}
			if !ok && reported[o.ID]["hold"] && !ran.excused(o) {
				complain("reservation %d is reported as lost, and no fault may have lost it: %v, done at %s", o.ID, o, clock(o.At*1e6))
			}
		}
	}
	// Nobody holds what nobody asked for.
	asked := map[int64]int{}
	for _, o := range ops {
		if o.Kind == reserve && o.Result == unknown {
			asked[o.User]++
		}
	}
	for id, f := range fates {
		if _, ok := told[id]; ok {
			continue
		}
		if asked[f.User]--; asked[f.User] < 0 {
			complain("reservation %d of user %d, who did not ask for it", id, f.User)
		}
	}
	return wrong, lost
}

// awaitReports is lostWork once every acknowledged purchase that is not
// completed is in it, or after a while without: an instance that was stopped
// until the end of the round still has to look.
func (w *world) awaitReports(ctx context.Context, d sale, ops []op, fates map[int64]fate) (map[int64]map[string]bool, map[string]int) {
	w.t.Helper()
	for until := time.Now().Add(reportBound); ; time.Sleep(50 * time.Millisecond) {
		reported, lost, err := w.lostWork(ctx, d.ID)
		if err != nil {
			w.t.Fatal(err)
		}
		waits := slices.ContainsFunc(ops, func(o op) bool {
			_, known := fates[o.ID]
			return o.Kind == purchase && o.acknowledged() && fates[o.ID].Status != "completed" && !reported[o.ID]["purchase"] ||
				o.Kind == reserve && o.ID != 0 && !known && len(reported[o.ID]) == 0 && o.Deadline > time.Now().UnixMilli()
		})
		if !waits || time.Now().After(until) {
			return reported, lost
		}
	}
}

// reportBound is how long a report may take once all else is well.
const reportBound = 5 * time.Second

// reportFrom: a hold whose deadline is nearer than this when the loss is found
// may have lapsed in order, and is not reported.
const reportFrom = 1500 * time.Millisecond

// lostWork is what is reported as lost of a drop: reservation → kinds, and how
// many of each kind.
func (w *world) lostWork(ctx context.Context, drop int64) (map[int64]map[string]bool, map[string]int, error) {
	rows, err := w.db.Query(ctx, "SELECT id, kind FROM lost_work WHERE drop_id = $1", drop)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	reported, counts := map[int64]map[string]bool{}, map[string]int{}
	for rows.Next() {
		var id int64
		var kind string
		if err := rows.Scan(&id, &kind); err != nil {
			return nil, nil, err
		}
		if reported[id] == nil {
			reported[id] = map[string]bool{}
		}
		reported[id][kind] = true
		counts[kind]++
	}
	return reported, counts, rows.Err()
}

// falseReports are the reservations of a drop that were reported as a lost
// purchase or hold when their purchase had been in Postgres for a while. One
// that was committed later is none: a hold that was reported can be bought after all.
func (w *world) falseReports(ctx context.Context, drop int64) ([]int64, error) {
	// A commit takes its time before it is flushed and can be seen.
	const slack = "1 second"
	rows, err := w.db.Query(ctx, `SELECT l.id FROM lost_work AS l JOIN purchases AS p ON p.id = l.id
		WHERE l.drop_id = $1 AND l.kind IN ('purchase', 'hold')
			AND pg_xact_commit_timestamp(p.xmin) < l.found_at - $2::text::interval ORDER BY l.id`, drop, slack)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// audit has the command itself compare the two stores.
func (w *world) audit() {
	w.t.Helper()
	if printed, status := harness.Run(w.t, w.binary, w.env(), "audit"); status != 0 {
		w.t.Errorf("audit ends with %d:\n%s", status, printed)
	}
}
