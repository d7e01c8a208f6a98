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
func (w *world) ends(d sale, ops []op, fates map[int64]fate) (wrong []string) {
	w.t.Helper()
	complain := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("drop %d: ", d.ID)+fmt.Sprintf(format, args...))
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()

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
	told := map[int64]int64{}
	for _, o := range ops {
		if o.Kind == purchase && o.acknowledged() {
			if _, ok := purchases[o.ID]; !ok {
				complain("the purchase of %d was acknowledged and is not in Postgres (%+v)", o.ID, fates[o.ID])
			}
		}
		if o.Kind == reserve && o.ID != 0 {
			if user, ok := told[o.ID]; ok && user != o.User {
				complain("reservation %d was given to users %d and %d", o.ID, user, o.User)
			}
			told[o.ID] = o.User
			if _, ok := fates[o.ID]; !ok {
				complain("reservation %d was given and neither store knows it", o.ID)
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
	return wrong
}

// audit has the command itself compare the two stores.
func (w *world) audit() {
	w.t.Helper()
	if printed, status := harness.Run(w.t, w.binary, w.env(), "audit"); status != 0 {
		w.t.Errorf("audit ends with %d:\n%s", status, printed)
	}
}
