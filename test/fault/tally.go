package fault

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// tally is what a campaign has done so far.
type tally struct {
	began      time.Time
	rounds     int
	seeds      []uint64
	ops        int
	unknown    int
	changes    int
	undecided  int
	moved      int // rounds
	lapsed     int
	faults     map[string]int
	worlds     map[flavour]int // rounds by kind of deployment
	late       []int64         // ms, of rounds without faults
	lost       map[string]int  // reported as lost, by kind
	violations []violation
}

// violation is one broken promise, and the seed that showed it.
type violation struct {
	seed  uint64
	story string
}

func newTally() *tally {
	return &tally{began: time.Now(), faults: map[string]int{}, worlds: map[flavour]int{}, lost: map[string]int{}}
}

func (c *tally) add(s roundSetup, of flavour, out outcome) {
	c.rounds++
	c.seeds = append(c.seeds, s.seed)
	c.worlds[of]++
	c.ops += out.ops
	c.unknown += out.unknown
	c.changes += out.changes
	c.undecided += out.undecided
	if out.moved {
		c.moved++
	}
	c.lapsed += out.lapsed
	c.late = append(c.late, out.late...)
	for _, f := range s.plan {
		c.faults[f.kind]++
	}
	for k, n := range out.lost {
		c.lost[k] += n
	}
	for _, v := range out.violations {
		c.violations = append(c.violations, violation{s.seed, v})
	}
}

// littleShown says what keeps the campaign from showing much; "" where nothing does.
func (c *tally) littleShown() string {
	if c.undecided > c.rounds/5 || c.moved > c.rounds/5 {
		return fmt.Sprintf("of %d rounds %d were not judged, and %d histories are undecided: the check shows too little", c.rounds, c.moved, c.undecided)
	}
	return ""
}

func (c *tally) injected() (n int) {
	for _, k := range c.faults {
		n += k
	}
	return n
}

// progress is one line on how far the campaign is.
func (c *tally) progress(s roundSetup, of flavour) string {
	kinds := make([]string, len(s.plan))
	for i, f := range s.plan {
		kinds[i] = f.kind
	}
	return fmt.Sprintf("%6s  %d rounds, %d operations (%d unknown), %d faults, %d violations; seed %d (%s): %s",
		time.Since(c.began).Truncate(time.Second), c.rounds, c.ops, c.unknown, c.injected(), len(c.violations),
		s.seed, of, strings.Join(kinds, ", "))
}

// percentile of sorted values.
func percentile(sorted []int64, p float64) int64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

// summary is the campaign's figures, as text.
func (c *tally) summary() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "| %s | %s |\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintln(&b, "| Campaign | |\n|---|---|")
	row("Hours", "%.2f", time.Since(c.began).Hours())
	rounds := make([]string, 0, len(c.worlds))
	for _, of := range slices.Sorted(maps.Keys(c.worlds)) {
		rounds = append(rounds, fmt.Sprintf("%d on %s", c.worlds[of], of))
	}
	row("Rounds", "%d: %s", c.rounds, strings.Join(rounds, ", "))
	if len(c.seeds) > 0 {
		row("Seeds", "%d, from %d to %d", len(c.seeds), slices.Min(c.seeds), slices.Max(c.seeds))
	}
	row("Operations", "%d", c.ops)
	row("of unknown outcome", "%d", c.unknown)
	row("Changes of a drop", "%d", c.changes)
	row("Holds that lapsed", "%d", c.lapsed)
	row("Faults injected", "%d", c.injected())
	late := slices.Sorted(slices.Values(c.late))
	row("Deadline to release, without faults", "p50 %d ms, p99 %d ms, greatest %d ms (of %d)",
		percentile(late, 0.5), percentile(late, 0.99), percentile(late, 1), len(late))
	for _, k := range slices.Sorted(maps.Keys(c.lost)) {
		row("Reported as lost: "+k, "%d", c.lost[k])
	}
	row("Histories undecided in time", "%d", c.undecided)
	row("Rounds not judged, since Redis failed over by itself", "%d", c.moved)
	row("Violations", "%d", len(c.violations))
	fmt.Fprintln(&b, "\n| Fault | times |\n|---|---|")
	for _, k := range slices.Sorted(maps.Keys(c.faults)) {
		row(k, "%d", c.faults[k])
	}
	return b.String()
}
