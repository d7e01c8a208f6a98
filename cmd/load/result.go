package load

import (
	"cmp"
	"slices"
	"time"
)

// Result is what came of a run.
type Result struct {
	Elapsed time.Duration // until the last answer
	Tallies []*Tally      // whole steps first, then by call and outcome

	// Of an open loop:

	Scheduled int64         // arrivals that were due
	Dropped   int64         // of these, those that were never sent: too many waited, or the run was over
	Late      time.Duration // the most by which the schedule itself was behind
}

// Sum is all that was counted for a call ("" for whole steps) with one of the
// kinds; without kinds, whatever its outcome. Its Outcome is zero.
func (r *Result) Sum(call string, kinds ...Kind) *Tally {
	sum := newTally(call, Outcome{})
	for _, t := range r.Tallies {
		if t.Call == call && (len(kinds) == 0 || slices.Contains(kinds, t.Outcome.Kind)) {
			sum.add(t)
		}
	}
	return sum
}

// Count is how many had the outcome.
func (r *Result) Count(call string, o Outcome) int64 {
	for _, t := range r.Tallies {
		if t.Call == call && t.Outcome == o {
			return t.Count
		}
	}
	return 0
}

// Rate is how many a second had one of the kinds; without kinds, of all.
func (r *Result) Rate(call string, kinds ...Kind) float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Sum(call, kinds...).Count) / r.Elapsed.Seconds()
}

// Calls are the names of the calls that were made.
func (r *Result) Calls() []string {
	var names []string
	for _, t := range r.Tallies {
		if t.Call != "" && !slices.Contains(names, t.Call) {
			names = append(names, t.Call)
		}
	}
	return names
}

func (r *Result) sort() {
	slices.SortFunc(r.Tallies, func(a, b *Tally) int {
		return cmp.Or(cmp.Compare(a.Call, b.Call), cmp.Compare(a.Outcome.Kind, b.Outcome.Kind), cmp.Compare(a.Outcome.Code, b.Outcome.Code))
	})
}
