package bench

import "github.com/holdfast/holdfast/test/bench/report"

// judge adds the goals to the report, as far as they were measured.
func judge(r *report.Report) {
	figures := func(phase, line string) report.Series { return r.Find(phase).Figures(line) }
	over := func(phase, line, other string) report.Series { return figures(phase, line).Over(figures(phase, other)) }
	r.AtLeast("reserves : HTTP alone", 0.60, "", over("reserve", holdfast, ceiling))
	r.AtLeast("reserves : grouped Postgres", 1.6, "×", over("reserve", holdfast, grouped))
	r.AtLeast("sold-out answers : HTTP alone", 0.85, "", over("soldout", holdfast, ceiling))
	r.AtLeast("cycles : HTTP alone", 0.45, "", over("checkout", holdfast, ceiling))
	r.AtLeast("cycles : Postgres with reserves grouped", 4, "×", over("checkout", holdfast, groupedHalf))
	r.AtLeast("GET /api/drops : HTTP alone", 0.80, "", over("browse", holdfast, ceiling))
	r.AtMost("p99 at half of the reserve rate, open loop", 10, "ms", figures("latency", quantileOf(holdfast, .99)))
	r.AtLeast("writer: purchases into Postgres", 40_000, "/s", figures("writer", holdfast))
	r.AtMost("restore: 50,000 holds due in one instant", 500, "ms", figures("restore", holdfast))
	r.AtMost("one idle instance, 1,000 open drops: memory", 60, "MB", figures("idle-memory", holdfast))
	r.AtMost("one idle instance, 1,000 open drops: processor", 1, "% of a core", figures("idle-cpu", holdfast))
	r.AtLeast("reserves with 10,000 open drops : with 1", 0.9, "", over("flat", withDrops, fresh))
	r.AtLeast("reserves with 500,000 live holds : with none", 0.9, "", over("flat", withHolds, fresh))
	r.AtLeast("reserves with 1,000,000 sold : with none", 0.9, "", over("flat", withSold, fresh))
	r.AtLeast("cycles with 1,000,000 sold : with none", 0.9, "", over("flat-checkout", withSold, fresh))
	r.AtLeast("reserves by two instances : by one", 1, "", over("flat", twoInstances, fresh))
}
