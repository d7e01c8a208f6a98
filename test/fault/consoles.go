package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/test/harness"
)

// One drop of each round is changed while all else goes on: two consoles add units
// and take them away, pause it and have it go on. Its history is not tried for an
// order, since its terms change; what is held against the promises is
//
//   - every read: what is available, held and sold make the total;
//   - every change: made once if it was acknowledged, not made if it was refused,
//     and not in suspense once all is well, whatever was lost;
//   - both stores in the end: the total is what the drop was opened with and every
//     change that was made, in both; each of them is in the log of the operators,
//     and in ends.go all that holds of other drops.

// change is one change that a console asked for, perhaps several times.
type change struct {
	key    string
	add    map[string]int // by size; nil: of the state
	result string         // as of reserve; a refusal's code
	asked  int            // how often
}

// consolePace bounds a console's pause between two changes.
const consolePace = 250 * time.Millisecond

// steer has two consoles change a drop until stop is closed.
func (m *market) steer(seed uint64, d sale, stop <-chan struct{}) {
	var running sync.WaitGroup
	for i := range 2 {
		rng := rand.New(rand.NewPCG(seed, 1<<33+uint64(i)))
		running.Go(func() {
			for n := 0; ; n++ {
				m.changeOne(rng, d, fmt.Sprintf("%s-console-%d-%d", m.named, i, n))
				timer := time.NewTimer(time.Duration(rng.Int64N(int64(consolePace))))
				select {
				case <-stop:
					timer.Stop()
					return
				case <-timer.C:
				}
			}
		})
	}
	running.Wait()
}

// changeOne asks for one change, again where the answer says nothing: mostly until
// one does.
func (m *market) changeOne(rng *rand.Rand, d sale, key string) {
	c := change{key: key}
	var body map[string]any
	switch n := rng.IntN(8); {
	case n == 0:
		body = map[string]any{"state": "paused"}
	case n < 4: // soon after a pause
		body = map[string]any{"state": "live"}
	default:
		size, add := d.Sizes[rng.IntN(len(d.Sizes))], 1+rng.IntN(3)
		if n < 6 {
			add = -add
		}
		c.add = map[string]int{size: add}
		stock := map[string]any{"add": add}
		if size != "" {
			stock["size"] = size
		}
		body = map[string]any{"stock": []any{stock}}
	}
	for c.asked < 6 {
		c.asked++
		a := m.caller.call(http.MethodPatch, fmt.Sprintf("%s/api/drops/%d", m.url(rng), d.ID), body, key)
		switch {
		case a.status == http.StatusOK && a.replayed:
			c.result = repeated
		case a.status == http.StatusOK:
			c.result = done
		default:
			c.result = a.refusal()
		}
		if a.status == http.StatusInternalServerError {
			m.mu.Lock()
			m.wrong = append(m.wrong, fmt.Sprintf("change %s %v: %s", key, body, a.body))
			m.mu.Unlock()
		}
		if c.result != unknown && c.result != "overloaded" || rng.IntN(6) == 0 {
			break
		}
		time.Sleep(time.Duration(rng.Int64N(int64(pace))))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes = append(m.changes, c)
}

// settled waits until no change of a drop is in suspense, which takes nobody who
// asks again.
func (w *world) settled(d sale, within time.Duration) {
	w.t.Helper()
	harness.Eventually(w.t, within, func() error {
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
		defer cancel()
		var n int
		err := w.db.QueryRow(ctx, "SELECT count(*) FROM drop_changes WHERE drop_id = $1 AND outcome IS NULL", d.ID).Scan(&n)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d changes of drop %d are in suspense", n, d.ID)
		}
		return err
	})
}

// steered judges the changes of a drop, and gives the totals that came of them.
func (w *world) steered(d sale, changes []change, ops []op, ran ran) (totals []int, wrong []string) {
	w.t.Helper()
	complain := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("drop %d, changed by consoles: ", d.ID)+fmt.Sprintf(format, args...))
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()

	rows, err := w.db.Query(ctx, "SELECT idem_key, outcome FROM drop_changes WHERE drop_id = $1", d.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	outcomes := map[string]string{}
	var key, outcome string
	if _, err := pgx.ForEachRow(rows, []any{&key, &outcome}, func() error { outcomes[key] = outcome; return nil }); err != nil {
		w.t.Fatal(err)
	}

	totals = slices.Clone(d.Totals)
	made := 0
	for _, c := range changes {
		outcome, begun := outcomes[c.key]
		switch {
		case (c.result == done || c.result == repeated) && outcome != "made":
			complain("%+v was acknowledged, and came to %q", c, outcome)
		case c.result == unknown, c.result == "overloaded" && c.asked > 1:
		case c.result == "overloaded" && begun:
			complain("%+v was put off, and came to %q all the same", c, outcome)
		case c.result == "not_enough_available" && c.add != nil && !begun: // less than nothing would be left
		case c.result != done && c.result != repeated && c.result != "overloaded" && outcome != c.result:
			complain("%+v was refused, and came to %q", c, outcome)
		}
		if outcome == "made" {
			made++
			for size, add := range c.add {
				totals[slices.Index(d.Sizes, size)] += add
			}
		}
	}
	for _, o := range ops {
		for _, p := range o.Stock {
			// A rebuild counts anew.
			below := min(p.Available, p.Held, p.Sold) < 0 && ran.lossy == 0
			if p.Available+p.Held+p.Sold != p.Total || below {
				complain("%v does not add up", o)
			}
		}
	}

	var logged, coming, inPostgres int
	if err := w.db.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM admin_log WHERE drop_id = $1 AND action = 'change'),
			(SELECT sum(coming) FROM drop_sizes WHERE drop_id = $1), (SELECT sum(total_stock) FROM drop_sizes WHERE drop_id = $1)`,
		d.ID).Scan(&logged, &coming, &inPostgres); err != nil {
		w.t.Fatal(err)
	}
	all := 0
	for _, n := range totals {
		all += n
	}
	if logged != made || coming != 0 || inPostgres != all {
		complain("%d changes were made, %d are in the log; Postgres has a stock of %d and %d to come, want %d and none",
			made, logged, inPostgres, coming, all)
	}
	if err := w.shownEverywhere(ctx, d); err != nil {
		complain("%v", err)
	}
	return totals, wrong
}

// shownEverywhere waits until every instance shows a drop as Redis has it.
func (w *world) shownEverywhere(ctx context.Context, d sale) error {
	c := newCaller()
	defer c.http.CloseIdleConnections()
	var last error
	for until := time.Now().Add(reportBound); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		h, err := w.redis.HGetAll(ctx, w.dropKey(d.ID, "drop")).Result()
		if err != nil {
			return err
		}
		total := 0
		for _, size := range d.Sizes {
			n, err := strconv.Atoi(h["t:"+size])
			if err != nil {
				return fmt.Errorf("redis has %q as the total of size %q", h["t:"+size], size)
			}
			total += n
		}
		last = nil
		for _, in := range w.instances {
			a := c.call(http.MethodGet, fmt.Sprintf("%s/api/drops/%d", in.URL, d.ID), nil, "")
			var got struct {
				State string
				Total int `json:"total_stock"`
			}
			if err := json.Unmarshal(a.body, &got); err != nil || got.Total != total || (got.State == "paused") != (h["state"] == "paused") {
				last = fmt.Errorf("%s shows %s; Redis has a total of %d, %s", in.name, a.body, total, h["state"])
			}
		}
		if last == nil {
			return nil
		}
	}
	return last
}
