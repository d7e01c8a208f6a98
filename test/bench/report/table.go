package report

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// Print writes the report as tables to read.
func (r *Report) Print(to io.Writer) {
	_, _ = fmt.Fprintf(to, "%s\n%d cores (%s; load %.1f in the minute before), %s, %s, %s, %s\n", r.At.Format("2006-01-02 15:04 MST"),
		r.Machine.CPUs, r.Machine.CPU, r.Machine.Load, r.Machine.System, r.Machine.Go, r.Machine.Redis, r.Machine.Postgres)
	_, _ = fmt.Fprintf(to, "%d connections where nothing else is said, %d rounds of %g s each, interleaved: median (least … most)\n",
		r.Connections, r.Rounds, r.Seconds)
	for _, p := range r.Phases {
		p.Print(to)
	}
	if !r.Correct {
		_, _ = fmt.Fprint(to, "\nWRONG: something was sold that should not have been, or could not be checked. No figure counts.\n")
	}
	if len(r.Goals) == 0 {
		return
	}
	_, _ = fmt.Fprint(to, "\nGoals: median of the rounds (least … most)\n")
	wide := 0
	for _, g := range r.Goals {
		wide = max(wide, len(g.What))
	}
	for _, g := range r.Goals {
		verdict, bound := "MISSED", "at least "
		if g.Met {
			verdict = "met"
		}
		if g.AtMost {
			bound = "at most "
		}
		s := g.Figures
		_, _ = fmt.Fprintf(to, "  %-6s  %-*s  %10s  %-26s %s%s\n", verdict, wide, g.What,
			with(s.Median(), g.Unit), fmt.Sprintf("(%s … %s)", number(s.Min()), number(s.Max())), bound, with(g.Bound, g.Unit))
	}
}

// Print writes the phase as a table: each line with its ratio to the first.
func (p *Phase) Print(to io.Writer) {
	_, _ = fmt.Fprintf(to, "\n%s, %s\n", p.Title, p.Unit)
	for i, l := range p.Lines {
		ratio := ""
		if i > 0 {
			ratio = fmt.Sprintf("%8.2f of the first", l.Figures.Over(p.Lines[0].Figures).Median())
		}
		_, _ = fmt.Fprintf(to, "  %-42s %10s  %-24s%s\n", l.Name, number(l.Figures.Median()),
			fmt.Sprintf("(%s … %s)", number(l.Figures.Min()), number(l.Figures.Max())), ratio)
	}
}

func with(v float64, unit string) string {
	if unit == "" || unit == "/s" {
		return number(v) + unit
	}
	return number(v) + " " + unit
}

// number writes v with about three digits, and thousands apart.
func number(v float64) string {
	decimals := 0
	switch a := math.Abs(v); {
	case a == 0 || a >= 100:
	case a >= 10:
		decimals = 1
	default:
		decimals = 2
	}
	text := fmt.Sprintf("%.*f", decimals, v)
	whole, rest, _ := strings.Cut(text, ".")
	for at := len(whole) - 3; at > 0 && whole[at-1] != '-'; at -= 3 {
		whole = whole[:at] + "," + whole[at:]
	}
	if rest != "" {
		return whole + "." + rest
	}
	return whole
}
