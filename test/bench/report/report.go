// Package report holds what a run of the bench measured, judges it against the
// goals, and shows it: a table, JSON, a chart.
package report

import (
	"encoding/json"
	"slices"
	"time"
)

// Report is one run.
type Report struct {
	At          time.Time `json:"at"`
	Machine     Machine   `json:"machine"`
	Connections int       `json:"connections"` // of most phases
	Rounds      int       `json:"rounds"`
	Seconds     float64   `json:"seconds"` // of one contender's turn in a round
	Correct     bool      `json:"correct"` // whether all that was sold was sold right
	Phases      []*Phase  `json:"phases"`
	Goals       []*Goal   `json:"goals"`
}

// Machine is what the run was on.
type Machine struct {
	CPUs     int     `json:"cpus"`
	CPU      string  `json:"cpu"`
	System   string  `json:"system"`
	Go       string  `json:"go"`
	Redis    string  `json:"redis"`
	Postgres string  `json:"postgres"`
	Load     float64 `json:"load"` // how many processes ran or waited in the minute before
}

// Phase is one thing that was measured of several contenders.
type Phase struct {
	Name  string  `json:"name"`  // as it is chosen by: "reserve"
	Title string  `json:"title"` // "Successful reserves a second"
	Unit  string  `json:"unit"`  // "/s", "ms", "MB", "% of a core"
	Lines []*Line `json:"lines"`
}

// Line is what was measured of one contender.
type Line struct {
	Name    string `json:"name"`
	Figures Series `json:"figures"`
}

// Series is a figure of each round, in order.
type Series []float64

// Phase adds a phase.
func (r *Report) Phase(name, title, unit string) *Phase {
	p := &Phase{Name: name, Title: title, Unit: unit}
	r.Phases = append(r.Phases, p)
	return p
}

// Find is the phase of that name, nil where it did not run.
func (r *Report) Find(phase string) *Phase {
	for _, p := range r.Phases {
		if p.Name == phase {
			return p
		}
	}
	return nil
}

// Add adds a round's figure to the line of that name, which is made with its first.
func (p *Phase) Add(line string, figure float64) {
	at := slices.IndexFunc(p.Lines, func(l *Line) bool { return l.Name == line })
	if at < 0 {
		at = len(p.Lines)
		p.Lines = append(p.Lines, &Line{Name: line})
	}
	p.Lines[at].Figures = append(p.Lines[at].Figures, figure)
}

// Figures are those of the line of that name, none where there is no such line,
// or no phase.
func (p *Phase) Figures(line string) Series {
	if p != nil {
		for _, l := range p.Lines {
			if l.Name == line {
				return l.Figures
			}
		}
	}
	return nil
}

// Median is the middle one, 0 of none; of an even number the mean of two.
func (s Series) Median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// Min is the least, 0 of none.
func (s Series) Min() float64 {
	if len(s) == 0 {
		return 0
	}
	return slices.Min(s)
}

// Max is the greatest, 0 of none.
func (s Series) Max() float64 {
	if len(s) == 0 {
		return 0
	}
	return slices.Max(s)
}

// Over is s over other, round by round: what was measured side by side.
func (s Series) Over(other Series) Series {
	ratios := make(Series, 0, len(s))
	for i := range min(len(s), len(other)) {
		if other[i] != 0 {
			ratios = append(ratios, s[i]/other[i])
		}
	}
	return ratios
}

// MarshalJSON gives median and spread beside the rounds.
func (s Series) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Median float64   `json:"median"`
		Min    float64   `json:"min"`
		Max    float64   `json:"max"`
		Rounds []float64 `json:"rounds"`
	}{s.Median(), s.Min(), s.Max(), s})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Series) UnmarshalJSON(b []byte) error {
	var form struct {
		Rounds []float64 `json:"rounds"`
	}
	err := json.Unmarshal(b, &form)
	*s = form.Rounds
	return err
}
