package load

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// recorders is how many of them a run has. Workers share them, since a
	// histogram takes 150 KB and there may be thousands of workers; sixteen are
	// enough for hardly any worker to wait for another.
	recorders = 16

	longest = 2 * time.Minute // that a histogram can tell; what took longer counts as that
	digits  = 3
)

// recorder counts what its workers did.
type recorder struct {
	mu      sync.Mutex
	began   time.Time
	tallies []*Tally
}

// record counts one outcome that came at now.
func (r *recorder) record(call string, o Outcome, took time.Duration, now time.Time) {
	second := int(now.Sub(r.began) / time.Second)
	micros := min(max(took.Microseconds(), 1), longest.Microseconds())
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tally(call, o)
	t.Count++
	for len(t.Seconds) <= second {
		t.Seconds = append(t.Seconds, 0)
	}
	t.Seconds[second]++
	_ = t.Latency.RecordValue(micros) // it is in range
}

// tally finds a tally among the few that there are.
func (r *recorder) tally(call string, o Outcome) *Tally {
	for _, t := range r.tallies {
		if t.Outcome == o && t.Call == call {
			return t
		}
	}
	t := newTally(call, o)
	r.tallies = append(r.tallies, t)
	return t
}

// addTo adds what was counted to a result.
func (r *recorder) addTo(into *recorder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tallies {
		into.tally(t.Call, t.Outcome).add(t)
	}
}

// count adds how many whole steps had which outcome.
func (r *recorder) count(into map[Outcome]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tallies {
		if t.Call == "" {
			into[t.Outcome] += t.Count
		}
	}
}

// Tally counts what had one outcome: calls of one name, or whole steps.
type Tally struct {
	Call    string // "" for whole steps
	Outcome Outcome
	Count   int64
	Seconds []int64                 // how many came in each second of the run
	Latency *hdrhistogram.Histogram // in µs
}

func newTally(call string, o Outcome) *Tally {
	return &Tally{Call: call, Outcome: o, Latency: hdrhistogram.New(1, longest.Microseconds(), digits)}
}

func (t *Tally) add(other *Tally) {
	t.Count += other.Count
	for len(t.Seconds) < len(other.Seconds) {
		t.Seconds = append(t.Seconds, 0)
	}
	for i, n := range other.Seconds {
		t.Seconds[i] += n
	}
	t.Latency.Merge(other.Latency) // of the same range: nothing is dropped
}

// Quantile is the time within which the given share (0.99) was answered.
func (t *Tally) Quantile(share float64) time.Duration {
	return time.Duration(t.Latency.ValueAtQuantile(100*share)) * time.Microsecond
}
