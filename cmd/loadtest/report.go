package loadtest

import (
	"math"
	"time"

	"github.com/holdfast/holdfast/cmd/load"
)

// Report is what came of a load test. Times are in milliseconds where their
// names say so, rates a second.
type Report struct {
	At             time.Time `json:"at"`
	URL            string    `json:"url"`
	Scenario       Scenario  `json:"scenario"`
	Buyers         int       `json:"buyers"`
	Rate           float64   `json:"rate"` // arrivals a second; 0 in a closed loop
	ElapsedSeconds float64   `json:"elapsed_seconds"`

	Drop struct {
		ID    int64  `json:"id"`
		Name  string `json:"name"`
		Own   bool   `json:"own"` // opened for the test
		Total int64  `json:"total_stock"`
		counts
	} `json:"drop"` // as it was at the end

	// Total tells winners (units held) and refusals apart, also each second.
	Total   Figures   `json:"total"`
	Seconds []Figures `json:"seconds"` // rates; the last is of what was left of a second

	Calls    []CallFigures  `json:"calls"`
	Arrivals *Arrivals      `json:"arrivals,omitempty"` // of an open loop
	Watchers *WatcherReport `json:"watchers,omitempty"`
	Stock    []StockPoint   `json:"stock"`

	Checks []Check `json:"checks"`
	OK     bool    `json:"ok"` // no check says no
}

// Figures are rates a second.
type Figures struct {
	Won     float64 `json:"won"`     // units held for a buyer
	Refused float64 `json:"refused"` // buyers who were told no
	Failed  float64 `json:"failed"`  // calls that were not answered, or with 5xx
	Bought  float64 `json:"bought"`
	Looked  float64 `json:"looked"` // pages read
}

// CallFigures are of the calls of one name with one outcome.
type CallFigures struct {
	Call    string       `json:"call"`
	Kind    string       `json:"kind"` // won, refused, failed
	Code    string       `json:"code,omitempty"`
	Count   int64        `json:"count"`
	Rate    float64      `json:"rate"`
	Latency Latency      `json:"latency_ms"`
	Curve   []CurvePoint `json:"curve"`
}

// Latency is in milliseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99.9"`
	Max  float64 `json:"max"`
}

// CurvePoint says within which time a share of the calls was answered.
type CurvePoint struct {
	Share float64 `json:"share"`
	MS    float64 `json:"ms"`
}

// Arrivals are those of an open loop.
type Arrivals struct {
	Scheduled int64   `json:"scheduled"`
	Dropped   int64   `json:"dropped"` // never sent: too many waited
	LateMS    float64 `json:"late_ms"` // the most by which the schedule was behind
}

// WatcherReport is what WebSockets saw.
type WatcherReport struct {
	Count  int     `json:"count"`
	Frames int64   `json:"frames"`
	Rate   float64 `json:"rate"` // frames a second
}

func newReport(cfg *Config, began time.Time, a *auditor) *Report {
	result := a.result
	r := &Report{
		At: began.UTC(), URL: cfg.URL, Scenario: cfg.Scenario, Buyers: cfg.Buyers, Rate: cfg.Rate,
		ElapsedSeconds: result.Elapsed.Seconds(), Stock: a.sampler.points,
		Checks: a.checks, OK: verdict(a.checks),
	}
	r.Drop.ID, r.Drop.Name, r.Drop.Own, r.Drop.Total, r.Drop.counts = a.after.ID, a.after.Name, a.own, a.after.Total, a.after.counts
	r.Stock = append(r.Stock, StockPoint{max(result.Elapsed.Seconds(), r.Stock[len(r.Stock)-1].Second), a.after.Available, a.after.Held, a.after.Sold})
	for _, t := range result.Tallies {
		if t.Call == "" {
			continue
		}
		c := CallFigures{Call: t.Call, Kind: t.Outcome.Kind.String(), Code: t.Outcome.Code, Count: t.Count}
		c.Rate = float64(t.Count) / r.ElapsedSeconds
		c.Latency = Latency{ms(t, 0.5), ms(t, 0.9), ms(t, 0.99), ms(t, 0.999), ms(t, 1)}
		c.Curve = curve(t)
		r.Calls = append(r.Calls, c)
		if into := r.Total.of(t); into != nil {
			*into += c.Rate
		}
		r.addSeconds(t)
	}
	if cfg.Rate > 0 {
		r.Arrivals = &Arrivals{result.Scheduled, result.Dropped, float64(result.Late.Microseconds()) / 1000}
	}
	if a.audience != nil {
		frames := a.audience.against(a.after).frames
		r.Watchers = &WatcherReport{len(a.audience.all), frames, float64(frames) / r.ElapsedSeconds}
	}
	return r
}

// of is the figure that counts a tally; nil where none does.
func (f *Figures) of(t *load.Tally) *float64 {
	switch {
	case t.Outcome.Kind == load.Failed:
		return &f.Failed
	case t.Call == "list" || t.Call == "drop":
		if t.Outcome.Kind == load.Won {
			return &f.Looked
		}
		return &f.Refused
	case t.Outcome.Kind == load.Refused:
		return &f.Refused
	case t.Call == "reserve":
		return &f.Won
	case t.Call == "purchase":
		return &f.Bought
	default:
		return nil
	}
}

// addSeconds adds what was counted in each second, as a rate: the last second
// may have been a part of one.
func (r *Report) addSeconds(t *load.Tally) {
	for i, n := range t.Seconds {
		for len(r.Seconds) <= i {
			r.Seconds = append(r.Seconds, Figures{})
		}
		part := min(1, r.ElapsedSeconds-float64(i))
		if into := r.Seconds[i].of(t); into != nil && part > 0 {
			*into += float64(n) / part
		}
	}
}

func ms(t *load.Tally, share float64) float64 {
	return float64(t.Quantile(share).Microseconds()) / 1000
}

// shareAt is the share at a point of a curve: ten points for each further nine.
func shareAt(point int) float64 { return 1 - math.Pow(10, -float64(point)/perNine) }

// curve goes to the last point that more than a single call decides, and to the
// median at least.
func curve(t *load.Tally) (points []CurvePoint) {
	for i := 0; ; i++ {
		share := shareAt(i)
		if i > median && (1-share)*float64(t.Count) < 1 {
			return points
		}
		points = append(points, CurvePoint{share, ms(t, share)})
	}
}
