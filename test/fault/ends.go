package fault

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// ends holds what both stores have of a drop, once all is drained, against
// what its buyers were told.
//
// Where Redis may have lost data, acknowledged work that neither store has must
// have been reported as lost: lost counts that, by kind. Only of a hold that
// was about to lapse anyway nobody is told.
func (w *world) ends(d sale, ops []op, fates map[int64]fate, ran ran, well int64) (wrong []string, lost map[string]int) {
	w.t.Helper()
	complain := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("drop %d: ", d.ID)+fmt.Sprintf(format, args...))
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()

	reported, lost, err := w.lostWork(ctx, d.ID)
	if err != nil {
		w.t.Fatal(err)
	}
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
	told := map[int64]string{} // reservation → the key it was asked for with
	for _, o := range ops {
		if o.Kind == purchase && o.acknowledged() {
			if _, ok := purchases[o.ID]; !ok && !reported[o.ID]["purchase"] {
				complain("the purchase of %d was acknowledged and is not in Postgres (%+v)", o.ID, fates[o.ID])
			}
		}
		if o.Kind == reserve && o.ID != 0 {
			if key, ok := told[o.ID]; ok && key != o.Key {
				complain("reservation %d was given to the requests %s and %s", o.ID, key, o.Key)
			}
			told[o.ID] = o.Key
			lapsing := ran.lossy > 0 && o.Deadline*1e6 < well+reportFrom.Nanoseconds()
			if _, ok := fates[o.ID]; !ok && len(reported[o.ID]) == 0 && !lapsing {
				complain("reservation %d was given, neither store knows it, and it is not reported as lost", o.ID)
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

// audit has the command itself compare the two stores.
func (w *world) audit() {
	w.t.Helper()
	if printed, status := harness.Run(w.t, w.binary, w.env(), "audit"); status != 0 {
		w.t.Errorf("audit ends with %d:\n%s", status, printed)
	}
}
