package report

import (
	"bytes"
	"fmt"
	"html"
	"slices"
	"strings"
)

// The chart's measures, in px of a README's column.
const (
	chartWidth  = 880
	chartMargin = 24
	labelWidth  = 300 // of a contender's name, left of its bar
	valueWidth  = 150 // of its figure, right of the longest bar
	barHeight   = 16
	lineHeight  = 25
	headHeight  = 44 // of a phase's title
)

// chartStyle has both themes: the picture follows that of its reader.
const chartStyle = `
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #57606a; }
.title { font-weight: 600; font-size: 14px; fill: #1f2328; }
.own { font-weight: 600; fill: #1f2328; }
.figure { font-variant-numeric: tabular-nums; }
.paper { fill: #ffffff; }
.bar { fill: #afb8c1; }
.bar.own { fill: #2f6feb; }
.bar.ceiling { fill: #eaeef2; stroke: #afb8c1; stroke-dasharray: 3 2; }
.spread { stroke: #57606a; stroke-width: 1.5; }
.spread.own { stroke: #0b2e6f; }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1; }
  .title, text.own { fill: #f0f6fc; }
  .paper { fill: #0d1117; }
  .bar { fill: #4b535d; }
  .bar.own { fill: #4493f8; }
  .bar.ceiling { fill: #161b22; stroke: #4b535d; }
  .spread { stroke: #9198a1; }
  .spread.own { stroke: #cae0ff; }
}
`

// Chart says how a report is drawn.
type Chart struct {
	Phases  []string // by name, in order; those that did not run are left out
	Own     string   // the line that is told from the others
	Ceiling string   // the line that others are shares of
	Without []string // lines that are left out
}

// Draw gives the chart as SVG: for each phase a bar a line, as long as the
// median, with the spread over the rounds.
func (c Chart) Draw(r *Report) []byte {
	var body bytes.Buffer
	y := chartMargin
	for _, name := range c.Phases {
		if p := r.Find(name); p != nil && len(p.Lines) > 0 {
			y = c.phase(&body, p, y)
		}
	}
	m := r.Machine
	note := fmt.Sprintf("%d connections, %d cores shared by server, stores and load driver; fsync on; median of %d rounds (line: least … most)",
		r.Connections, m.CPUs, r.Rounds)
	stores := fmt.Sprintf("%%: of %s. %s", c.Ceiling, strings.Join([]string{m.Redis, m.Postgres, m.Go, r.At.Format("2006-01-02")}, ", "))
	_, _ = fmt.Fprintf(&body, "<text x=\"%d\" y=\"%d\">%s</text>\n", chartMargin, y+16, html.EscapeString(note))
	_, _ = fmt.Fprintf(&body, "<text x=\"%d\" y=\"%d\">%s</text>\n", chartMargin, y+35, html.EscapeString(stores))
	height := y + 35 + chartMargin

	var svg bytes.Buffer
	_, _ = fmt.Fprintf(&svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"%s\">\n<style>%s</style>\n",
		chartWidth, height, chartWidth, height, "Bars: what Holdfast and others do in a second", chartStyle)
	_, _ = fmt.Fprintf(&svg, "<rect class=\"paper\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n", chartWidth, height)
	svg.Write(body.Bytes())
	svg.WriteString("</svg>\n")
	return svg.Bytes()
}

// phase draws one phase from y on and gives where it ends.
func (c Chart) phase(to *bytes.Buffer, p *Phase, y int) int {
	_, _ = fmt.Fprintf(to, "<text class=\"title\" x=\"%d\" y=\"%d\">%s</text>\n", chartMargin, y+14, html.EscapeString(p.Title))
	y += headHeight - barHeight
	lines := slices.DeleteFunc(slices.Clone(p.Lines), func(l *Line) bool { return slices.Contains(c.Without, l.Name) })
	longest := 0.0
	for _, l := range lines {
		longest = max(longest, l.Figures.Max())
	}
	left := float64(chartMargin + labelWidth)
	scale := float64(chartWidth-2*chartMargin-labelWidth-valueWidth) / max(longest, 1e-9)
	for _, l := range lines {
		class := ""
		switch l.Name {
		case c.Own:
			class = " own"
		case c.Ceiling:
			class = " ceiling"
		}
		middle := float64(y) + barHeight/2
		_, _ = fmt.Fprintf(to, "<text class=\"label%s\" x=\"%g\" y=\"%g\" text-anchor=\"end\">%s</text>\n", class, left-10, middle+4.5, html.EscapeString(l.Name))
		_, _ = fmt.Fprintf(to, "<rect class=\"bar%s\" x=\"%g\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>\n", class, left, y, max(l.Figures.Median()*scale, 1), barHeight)
		if l.Figures.Max() > l.Figures.Min() {
			_, _ = fmt.Fprintf(to, "<line class=\"spread%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%g\"/>\n", class, left+l.Figures.Min()*scale, left+l.Figures.Max()*scale, middle, middle)
		}
		_, _ = fmt.Fprintf(to, "<text class=\"figure%s\" x=\"%.1f\" y=\"%g\">%s%s</text>\n", class, left+max(l.Figures.Median(), l.Figures.Max())*scale+8, middle+4.5,
			with(l.Figures.Median(), p.Unit), share(l, c.Ceiling, p))
		y += lineHeight
	}
	return y + chartMargin - lineHeight + barHeight
}

// share says what part of the ceiling a line is.
func share(l *Line, ceiling string, p *Phase) string {
	over := l.Figures.Over(p.Figures(ceiling))
	if l.Name == ceiling || len(over) == 0 {
		return ""
	}
	return fmt.Sprintf(" · %s %%", number(100*over.Median()))
}
