package fault

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// roundSetup is what a round is made of, all of it by its seed.
type roundSetup struct {
	seed    uint64
	buyers  int
	lasts   time.Duration
	plan    plan
	artwork string // folder of the pictures of violations
}

// outcome is what a round came to.
type outcome struct {
	ops, unknown int
	changes      int // by consoles
	violations   []string
	undecided    int
	moved        bool // Redis failed over by itself, so that nothing is judged
	lapsed       int
	lost         map[string]int // reported as lost, by kind
	late         []int64        // ms from deadline to release, of rounds without faults
}

// lapseBound is how late a hold may lapse in a round whose faults leave the
// sweep alone; the campaign holds the percentiles against the promise.
const lapseBound = 2 * time.Second

// healBound is how long the deployment may take to do all its work once the
// last fault is gone.
const healBound = 45 * time.Second

// round opens fresh drops, lets buyers and faults at them, and checks.
func (w *world) round(s roundSetup) outcome {
	w.t.Helper()
	rng := rand.New(rand.NewPCG(s.seed, 1<<32))
	m := &market{w: w, caller: newCaller(), users: w.users, history: &history{}, named: fmt.Sprintf("s%d", s.seed)}
	defer m.caller.http.CloseIdleConnections()
	for range 3 + rng.IntN(2) {
		m.drops = append(m.drops, w.openDrop(rng))
	}
	steered := w.openDrop(rng)
	steered.Steered = true
	m.drops = append(m.drops, steered)

	before := w.servers()
	stop, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		var running sync.WaitGroup
		running.Go(func() { m.run(s.seed, s.buyers, stop) })
		running.Go(func() { m.steer(s.seed, steered, stop) })
		running.Wait()
	}()
	ran := s.plan.run(w, m.drops, s.lasts)
	close(stop)
	<-gone
	w.healthy(healBound)
	if w.sentinel != nil {
		w.sentinel.AwaitReplicas() // it may have failed over unasked; the old primary would tell of the past
	}
	well := time.Now().UnixNano()
	m.clear(s.seed)

	w.settled(steered, healBound)
	// Holds that are short lapse now; what is long stays live.
	w.lapsed(m.drops, healBound)
	w.drained(healBound)
	if !s.plan.movesRedis() && !maps.Equal(before, w.servers()) {
		w.t.Logf("seed %d: Redis failed over though no fault asked for it, as it does on a machine that stands still for a second; the round is not judged", s.seed)
		return outcome{unknown: m.unknown, violations: m.wrong, moved: true}
	}
	return w.judge(s, m, ran, well)
}

// servers are the servers of Redis that the partitions are served by.
func (w *world) servers() map[int64]string {
	w.t.Helper()
	out := map[int64]string{}
	for p := range int64(partitions) {
		server, err := w.redis.HGet(w.t.Context(), w.key(p, "meta"), "server").Result()
		if err != nil {
			w.t.Fatalf("the server of partition %d: %v", p, err)
		}
		out[p] = server
	}
	return out
}

// judge checks what the round left behind; well is when the deployment was
// healthy again.
func (w *world) judge(s roundSetup, m *market, ran ran, well int64) outcome {
	w.t.Helper()
	out := outcome{unknown: m.unknown, changes: len(m.changes), violations: m.wrong, lost: map[string]int{}}
	byDrop := m.history.byDrop()
	for _, d := range m.drops {
		ops := byDrop[d.ID]
		out.ops += len(ops)
		fates, err := w.fates(d.ID)
		if err != nil {
			w.t.Fatalf("drop %d: %v", d.ID, err)
		}
		lapseBy := func(deadline int64) int64 {
			from := deadline * 1e6
			if !s.plan.quietSweep() {
				from = max(from, well)
			}
			return from + lapseBound.Nanoseconds()
		}
		var histories []kept
		switch {
		case d.Steered:
			var wrong []string
			d.Totals, wrong = w.steered(d, m.changes, ops, ran)
			out.violations = append(out.violations, wrong...)
		case ran.lossy > 0:
			begun, rest := after(d, ops, ran.snapshots[d.ID], fates)
			histories = []kept{{d, before(ops, ran.lossy), withSeen(fates, ran.last[d.ID])}, {begun, rest, fates}}
		default:
			histories = []kept{{d, ops, fates}}
		}
		for _, h := range histories {
			v := check(h.Sale, h.Ops, h.Fates, lapseBy)
			switch v.result {
			case porcupine.Illegal:
				out.violations = append(out.violations, w.picture(s, d, v)+"\n  all of it: "+keep(s, h))
			case porcupine.Unknown:
				out.undecided++
				w.t.Logf("seed %d: the history of drop %d (%d operations) is undecided within %v; it is kept in %s",
					s.seed, d.ID, len(h.Ops), openTimeout, keep(s, h))
			case porcupine.Ok:
			}
		}
		wrong, lost := w.ends(d, ops, fates, ran, well)
		out.violations = append(out.violations, wrong...)
		for kind, n := range lost {
			out.lost[kind] += n
		}
		for _, f := range fates {
			if f.Status != "expired" {
				continue
			}
			if out.lapsed++; s.plan.quiet() {
				out.late = append(out.late, f.Ended-f.Deadline)
			}
		}
	}
	return out
}

// openDrop opens a small drop, by an instance that answers.
func (w *world) openDrop(rng *rand.Rand) sale {
	w.t.Helper()
	d := sale{Sizes: []string{""}, Hold: time.Duration(300+rng.Int64N(1700)) * time.Millisecond}
	if rng.IntN(5) == 0 {
		d.Hold = 10 * time.Minute
	}
	if rng.IntN(2) == 0 {
		d.Limit = 1 + rng.IntN(2)
	}
	body := map[string]any{
		"name": "Drop", "price": 10, "start_time": time.Now().Add(-2 * time.Hour).UTC().Format(time.RFC3339),
		"hold_seconds": d.Hold.Seconds(),
	}
	if d.Limit > 0 {
		body["limit_per_customer"] = d.Limit
	}
	if rng.IntN(2) == 0 {
		d.Sizes = []string{"42", "43"}
		d.Totals = []int{2 + rng.IntN(4), 2 + rng.IntN(4)}
		body["sizes"] = []map[string]any{{"size": "42", "stock": d.Totals[0]}, {"size": "43", "stock": d.Totals[1]}}
		body["total_stock"] = d.Totals[0] + d.Totals[1]
	} else {
		d.Totals = []int{3 + rng.IntN(8)}
		body["total_stock"] = d.Totals[0]
	}
	c := newCaller()
	defer c.http.CloseIdleConnections()
	for until := time.Now().Add(healBound); ; {
		a := c.call(http.MethodPost, w.instances[0].URL+"/api/drops/create", body, "")
		var got struct{ ID int64 }
		if a.status == http.StatusCreated && json.Unmarshal(a.body, &got) == nil {
			d.ID = got.ID
			return d
		}
		if time.Now().After(until) {
			w.t.Fatalf("create a drop: %d %s", a.status, a.body)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// lapsed waits until every hold of the drops whose deadline has passed has
// given its unit back.
func (w *world) lapsed(drops []sale, within time.Duration) {
	w.t.Helper()
	for until := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		live, err := 0, error(nil)
		for _, d := range drops {
			var fates map[int64]fate
			if fates, err = w.fates(d.ID); err != nil {
				break
			}
			for _, f := range fates {
				if f.Status == "active" && f.Deadline < time.Now().Add(5*time.Second).UnixMilli() {
					live++
				}
			}
		}
		if live == 0 && err == nil {
			return
		}
		if time.Now().After(until) {
			w.t.Fatalf("%d holds outlive their deadlines; %v", live, err)
		}
	}
}

// picture shrinks an illegal history, draws it, and tells its story.
func (w *world) picture(s roundSetup, d sale, v verdict) string {
	w.t.Helper()
	small := shrink(v.part.terms, v.steps)
	var story strings.Builder
	fmt.Fprintf(&story, "seed %d, drop %d (sizes %q, stock %v, limit %d, hold %v), schedule %v: the history is not linearizable; the smallest that is not:",
		s.seed, d.ID, d.Sizes, d.Totals, d.Limit, d.Hold, s.plan)
	slices.SortStableFunc(small, func(a, b porcupine.Operation) int { return int(min(1, max(-1, a.Call-b.Call))) })
	for _, o := range small {
		st := stepOf(o)
		fmt.Fprintf(&story, "\n  %s…%s client %d %v", clock(o.Call), clock(o.Return), o.ClientId, st)
	}
	m := v.part.terms.porcupine()
	_, info := porcupine.CheckOperationsVerbose(m, small, openTimeout)
	path := fmt.Sprintf("%s/seed-%d-drop-%d.html", s.artwork, s.seed, d.ID)
	if err := porcupine.VisualizePath(m, info, path); err != nil {
		return story.String() + "\n  no picture: " + err.Error()
	}
	return story.String() + "\n  picture: " + path
}

// kept is a history with all that its check needs.
type kept struct {
	Sale  sale
	Ops   []op
	Fates map[int64]fate
}

// keep writes a history to a file and gives its path.
func keep(s roundSetup, h kept) string {
	path := fmt.Sprintf("%s/seed-%d-drop-%d.json", s.artwork, s.seed, h.Sale.ID)
	raw, err := json.Marshal(h)
	if err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		return err.Error()
	}
	return path
}

func clock(ns int64) string {
	if ns >= never {
		return "never"
	}
	return time.Unix(0, ns).UTC().Format("05.0000")
}
