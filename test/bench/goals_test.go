package bench

import "github.com/holdfast/holdfast/test/bench/report"

// judge adds the goals to the report, as far as they were measured.
func judge(r *report.Report) {
	over := func(phase, line, other string) report.Series {
		a, b := r.Find(phase).Line(line), r.Find(phase).Line(other)
		if a == nil || b == nil {
			return nil
		}
		return a.Over(b.Series)
	}
	r.AtLeast("reserves : HTTP alone", 0.60, "", over("reserve", holdfast, ceiling))
	r.AtLeast("reserves : grouped Postgres", 1.6, "×", over("reserve", holdfast, grouped))
	r.AtLeast("sold-out answers : HTTP alone", 0.85, "", over("soldout", holdfast, ceiling))
	r.AtLeast("cycles : HTTP alone", 0.45, "", over("checkout", holdfast, ceiling))
	r.AtLeast("cycles : Postgres with reserves grouped", 4, "×", over("checkout", holdfast, groupedHalf))
	r.AtLeast("GET /api/drops : HTTP alone", 0.80, "", over("browse", holdfast, ceiling))
}
