package bench

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/cmd/load"
	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// latencyPhase has buyers arrive on a schedule, at half of the rate that the
// contender reached with all connections, and times each from when it was due.
// HTTP alone gets Holdfast's rate: what it takes is the driver's and the machine's.
func latencyPhase(s *stage) {
	p := s.report.Phase("latency", "Reserves at half the rate reached, open loop: time to the answer", "ms")
	all := []*contender{s.deploy().serve(), s.baseline(grouped, "grouped"), s.baseline(ceiling, "constant")}
	rates := make([]float64, len(all))
	for i, c := range all {
		if c.constant {
			rates[i] = rates[0]
			continue
		}
		if reached := s.report.Find("reserve").Figures(c.name); len(reached) > 0 {
			rates[i] = reached.Median() / 2
		} else {
			rates[i] = s.reserveTurn(c, crowd) / 2
		}
	}
	for round := range s.plan.rounds {
		for i, c := range all {
			shop := s.shop(c, crowd, plenty)
			step := shop.reserve()
			shop.allWon(shop.run(load.Config{Duration: warmUp}, step))
			r := shop.run(load.Config{Duration: max(s.plan.turn, 3*time.Second), Rate: rates[i]}, step)
			shop.allWon(r)
			shop.right(shop.won, 0)
			t := r.Sum("", load.Won)
			fmt.Printf("  latency    round %d  %-42s %10.0f /s", round+1, c.name, rates[i])
			for _, share := range []float64{.5, .99, .999} {
				ms := float64(t.Quantile(share).Microseconds()) / 1000
				p.Add(quantileOf(c.name, share), ms)
				fmt.Printf("  p%g %.2f ms", 100*share, ms)
			}
			fmt.Printf("  (schedule behind by at most %v)\n", r.Late.Round(10*time.Microsecond))
			c.rest()
		}
	}
	s.finish(all...)
}

// quantileOf is the line of a contender's quantile.
func quantileOf(contender string, share float64) string {
	return fmt.Sprintf("%s, p%g", contender, 100*share)
}

// writerPhase fills the ledgers while no writer runs, and times one that drains
// them: from its first commit, so without its start, to the last.
func writerPhase(s *stage) {
	const sales = 160_000 // over all partitions
	d := s.deploy()
	conn := must(pgx.Connect(s.Context(), d.databaseURL))
	defer func() { check(s.B, conn.Close(s.Context())) }()
	written := func() (n int64) {
		check(s.B, conn.QueryRow(s.Context(), `SELECT coalesce(sum(sold), 0)::bigint FROM drop_sizes`).Scan(&n))
		return n
	}
	s.compare("writer", "Purchases a second that the writer brings to Postgres, from full ledgers", "/s", []turn{{holdfast, func() float64 {
		f := d.filler()
		f.sell(f.hold(f.openAll(partitions, sales, time.Hour), sales))
		f.close()
		before := written()
		writer := d.serve("--roles", "writer").process
		var began time.Time
		var first int64
		harness.Eventually(s, time.Minute, func() error {
			began, first = time.Now(), written()-before
			if first == 0 {
				return errors.New("nothing is written yet")
			}
			return nil
		})
		harness.Eventually(s, 5*time.Minute, func() error {
			if n := written() - before; n < sales {
				return fmt.Errorf("%d of %d purchases are in Postgres", n, sales)
			}
			return nil
		})
		took := time.Since(began)
		d.drained()
		if status := writer.Terminate(); status != 0 {
			s.Errorf("the writer ended with %d", status)
		}
		return float64(sales-first) / took.Seconds()
	}}})
	d.audit()
}

// The holds that lapse in one instant.
const (
	dueDrops = 200
	dueUnits = 250                    // of each
	dueAhead = 10 * time.Second       // to open the drops and hold their units
	dueApart = 100 * time.Millisecond // at most, from the first deadline to the last
)

// restorePhase times holds that lapse together from the first deadline until the
// last unit is back.
func restorePhase(s *stage) {
	d := s.deploy()
	d.serve()
	title := fmt.Sprintf("%d holds due in one instant: until all are back", dueDrops*dueUnits)
	s.compare("restore", title, "ms", []turn{{holdfast, func() float64 {
		f := d.filler()
		defer f.close()
		const tries = 5 // on a busy machine
		for range tries {
			drops, first, last := f.holdUntil(must(f.engine.Now(s.Context())).Add(dueAhead))
			back := f.allBack(drops)
			d.drained()
			if apart := last.Sub(first); apart <= dueApart {
				return float64(back.Sub(first).Milliseconds())
			}
		}
		s.Fatalf("the deadlines never lay within %v: the machine is too busy", dueApart)
		return 0
	}}})
	d.audit()
}

// holdUntil opens drops and holds all their units, each for as long as is left
// until due, and gives the first and the last deadline.
func (f *filler) holdUntil(due time.Time) (drops []int64, first, last time.Time) {
	f.Helper()
	drops = make([]int64, dueDrops)
	for i := range drops {
		left := due.Sub(must(f.engine.Now(f.Context()))).Truncate(time.Millisecond)
		if left < time.Second {
			f.Fatalf("%d of %d drops were held within %v: the machine is too slow", i, dueDrops, dueAhead)
		}
		drops[i] = must(f.open(dueUnits, left))
		for _, r := range f.hold(drops[i:i+1], dueUnits) {
			if first.IsZero() || r.Deadline.Before(first) {
				first = r.Deadline
			}
			if r.Deadline.After(last) {
				last = r.Deadline
			}
		}
	}
	if n := f.live(); n != dueDrops*dueUnits {
		f.Fatalf("%d live holds, want %d", n, dueDrops*dueUnits)
	}
	return drops, first, last
}

// allBack gives when the last hold was back, by Redis's clock.
func (f *filler) allBack(drops []int64) (back time.Time) {
	f.Helper()
	harness.Eventually(f, 2*dueAhead, func() error {
		if n := f.live(); n > 0 {
			return fmt.Errorf("%d holds are not back", n)
		}
		back = must(f.engine.Now(f.Context()))
		return nil
	})
	for _, stock := range must(f.engine.Stock(f.Context(), drops)) {
		if stock.Available != dueUnits || stock.Held != 0 {
			f.Errorf("all holds have lapsed, but drop %d says %+v", stock.Drop, stock)
		}
	}
	return back
}

// live is how many holds there are, lapsed ones that are not back included.
func (d *deployment) live() (n int64) {
	d.Helper()
	cmds := must(d.redis.Pipelined(d.Context(), func(p redis.Pipeliner) error {
		for i := range partitions {
			p.ZCard(d.Context(), engine.KeyPrefix(prefix, partitions, i)+"deadlines")
		}
		return nil
	}))
	for _, cmd := range cmds {
		n += cmd.(*redis.IntCmd).Val()
	}
	return n
}

// idlePhase looks at an instance that has started with many open drops, and that
// nobody calls.
func idlePhase(s *stage) {
	const drops = 1000
	d := s.deploy()
	f := d.filler()
	f.openAll(drops, 100, time.Minute)
	f.close()
	p := d.serve().process
	s.get(p.URL + "/api/drops")
	memory := s.report.Phase("idle-memory", fmt.Sprintf("One idle instance with %d open drops: resident", drops), "MB")
	turns := []turn{{holdfast, func() float64 {
		memory.Add(holdfast, float64(resident(p.PID()))/1e6)
		const watched = 5 * time.Second
		used, began := processorTime(p.PID()), time.Now()
		time.Sleep(watched) // nothing to wait for: that nothing happens is looked at
		return 100 * (processorTime(p.PID()) - used).Seconds() / time.Since(began).Seconds()
	}}}
	s.compare("idle-cpu", fmt.Sprintf("One idle instance with %d open drops: processor", drops), "% of a core", turns)
	d.audit()
}
