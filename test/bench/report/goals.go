package report

// Goal is what a figure should be.
type Goal struct {
	What    string  `json:"what"`    // "successful reserves : HTTP ceiling"
	Bound   float64 `json:"bound"`   // at least, or with AtMost at most
	AtMost  bool    `json:"at_most"` //
	Unit    string  `json:"unit"`    // "" for a ratio
	Figures Series  `json:"figures"` // by round
	Met     bool    `json:"met"`     // by the median
}

// AtLeast adds a goal. One of which nothing was measured is left out.
func (r *Report) AtLeast(what string, bound float64, unit string, figures Series) {
	r.goal(&Goal{What: what, Bound: bound, Unit: unit, Figures: figures, Met: figures.Median() >= bound})
}

// AtMost adds a goal. One of which nothing was measured is left out.
func (r *Report) AtMost(what string, bound float64, unit string, figures Series) {
	r.goal(&Goal{What: what, Bound: bound, AtMost: true, Unit: unit, Figures: figures, Met: figures.Median() <= bound})
}

func (r *Report) goal(g *Goal) {
	if len(g.Figures) > 0 {
		r.Goals = append(r.Goals, g)
	}
}
