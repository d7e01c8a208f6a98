package loadtest

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The plane of a chart, in units of its viewBox.
const (
	chartWidth, chartHeight  = 480, 230
	plotLeft, plotRight      = 58, chartWidth - 24
	plotTop, plotBottom      = 10, chartHeight - 26
	plotWidth, plotHeight    = plotRight - plotLeft, plotBottom - plotTop
	ticksWanted              = 5
	leastMarked, mostCurves  = 3, 8 // fewer points are marked by dots; more curves cannot be told apart
	decadesWithFineTicks     = 2
	leastPart                = 0.1 // of a second that is drawn
	fewestCallsThatAreACurve = 10
)

// chart is a plot as the page draws it.
type chart struct {
	Title, Note    string
	Width, Height  int
	Left, Right    int
	Top, Bottom    int
	XTicks, YTicks []mark
	Series         []series
	Hover          string // JSON for the page's script
}

// mark is a line of the grid with its label.
type mark struct {
	At    float64
	Label string
}

// series is one curve, or one layer where charts are stacked.
type series struct {
	Name   string
	Colour string // a class of the page
	Style  string // solid, dashed, dotted or area
	Path   string
	Dots   []dot // of a curve too short to be seen

	values []float64
	ys     []float64
}

type dot struct{ X, Y float64 }

// axis turns a value into a place.
type axis func(v float64) float64

func newChart(title, note string) *chart {
	return &chart{
		Title: title, Note: note, Width: chartWidth, Height: chartHeight,
		Left: plotLeft, Right: plotRight, Top: plotTop, Bottom: plotBottom,
	}
}

func linear(from, to, at, length float64) axis {
	if to <= from {
		to = from + 1
	}
	return func(v float64) float64 { return at + (v-from)/(to-from)*length }
}

func across(from, to float64) axis { return linear(from, to, plotLeft, plotWidth) }
func upward(from, to float64) axis { return linear(from, to, plotBottom, -plotHeight) }

// line draws the series as a curve through its values.
func (s *series) line(xs []float64, y axis) {
	var path strings.Builder
	for i, v := range s.values {
		s.ys = append(s.ys, y(v))
		fmt.Fprintf(&path, "%c%.1f %.1f", "LM"[first(i)], xs[i], s.ys[i])
		if len(s.values) < leastMarked {
			s.Dots = append(s.Dots, dot{xs[i], s.ys[i]})
		}
	}
	s.Path = path.String()
}

func first(i int) int {
	if i == 0 {
		return 1
	}
	return 0
}

// area draws the series on top of floor, and raises floor by it.
func (s *series) area(xs, floor []float64, y axis) {
	var path strings.Builder
	for i, v := range s.values {
		s.ys = append(s.ys, y(floor[i]+v))
		fmt.Fprintf(&path, "%c%.1f %.1f", "LM"[first(i)], xs[i], s.ys[i])
	}
	for i := len(s.values) - 1; i >= 0; i-- {
		fmt.Fprintf(&path, "L%.1f %.1f", xs[i], y(floor[i]))
		floor[i] += s.values[i]
	}
	s.Path = path.String() + "Z"
}

// hover has the page tell the values at each place.
func (c *chart) hover(xs []float64, heads []string, say func(float64) string) error {
	type told struct {
		Name   string    `json:"name"`
		Colour string    `json:"colour"`
		Ys     []float64 `json:"ys"`
		Says   []string  `json:"says"`
	}
	data := struct {
		Xs     []float64 `json:"xs"`
		Heads  []string  `json:"heads"`
		Series []told    `json:"series"`
	}{Xs: xs, Heads: heads}
	for _, s := range c.Series {
		t := told{Name: s.Name, Colour: s.Colour, Ys: s.ys}
		for _, v := range s.values {
			t.Says = append(t.Says, say(v))
		}
		data.Series = append(data.Series, t)
	}
	raw, err := json.Marshal(data)
	c.Hover = string(raw)
	return err
}

// niceTop is a round number that is at least v, and the step to it.
func niceTop(v float64) (top, step float64) {
	if v <= 0 {
		return 1, 1
	}
	step = math.Pow(10, math.Floor(math.Log10(v/ticksWanted)))
	for _, times := range []float64{1, 2, 5, 10} {
		if v/(step*times) <= ticksWanted {
			step *= times
			break
		}
	}
	return math.Ceil(v/step) * step, step
}

func (c *chart) yTicks(top, step float64, y axis) {
	for i := range int(math.Round(top/step)) + 1 {
		c.YTicks = append(c.YTicks, mark{y(float64(i) * step), short(float64(i) * step)})
	}
}

func (c *chart) seconds(end float64, x axis) {
	_, step := niceTop(end)
	for at := 0.0; at <= end; at += step {
		c.XTicks = append(c.XTicks, mark{x(at), fmt.Sprintf("%g s", math.Round(at*1000)/1000)})
	}
}

// short writes 12300 as 12.3k.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + "M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'g', 3, 64) + "k"
	default:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
}

// throughput shows what came of the visits, each second.
func (r *Report) throughput() (*chart, error) {
	c := newChart("Throughput", "a second, by what came of it")
	for _, k := range []struct {
		name  string
		of    func(Figures) float64
		shown bool
	}{
		{"won", func(f Figures) float64 { return f.Won }, r.Scenario.buys()},
		{"refused", func(f Figures) float64 { return f.Refused }, r.Scenario.buys()},
		{"bought", func(f Figures) float64 { return f.Bought }, r.Total.Bought > 0},
		{"looked", func(f Figures) float64 { return f.Looked }, r.Total.Looked > 0},
		{"failed", func(f Figures) float64 { return f.Failed }, true},
	} {
		if !k.shown {
			continue
		}
		s := series{Name: k.name, Colour: k.name, Style: "solid"}
		for _, f := range r.Seconds {
			s.values = append(s.values, k.of(f))
		}
		c.Series = append(c.Series, s)
	}
	var highest float64
	x := across(0, r.ElapsedSeconds)
	var xs []float64
	var heads []string
	for i := range r.Seconds {
		end := min(float64(i+1), r.ElapsedSeconds)
		if i > 0 && end-float64(i) < leastPart {
			break
		}
		xs = append(xs, x((float64(i)+end)/2))
		heads = append(heads, fmt.Sprintf("second %d", i+1))
	}
	for i := range c.Series {
		s := &c.Series[i]
		s.values = s.values[:len(xs)]
		for _, v := range s.values {
			highest = max(highest, v)
		}
	}
	top, step := niceTop(highest)
	y := upward(0, top)
	for i := range c.Series {
		c.Series[i].line(xs, y)
	}
	c.yTicks(top, step, y)
	c.seconds(r.ElapsedSeconds, x)
	return c, c.hover(xs, heads, func(v float64) string { return grouped(int64(v)) })
}

const (
	perNine = 10 // points of a curve for each further nine
	median  = 3  // the first point that is drawn: 50 %
)

// latency shows within which time which share was answered; both axes stretch
// what is rare and slow.
func (r *Report) latency() (*chart, error) {
	c := newChart("Latency", "within which time which share was answered")
	least, most, longest := math.Inf(1), 0.0, perNine
	for _, f := range r.Calls {
		if f.Count < fewestCallsThatAreACurve || len(c.Series) == mostCurves {
			continue
		}
		s := series{Name: f.name(), Colour: f.Call, Style: styles[f.Kind]}
		for _, p := range f.Curve[median:] {
			s.values = append(s.values, p.MS)
			least, most = min(least, p.MS), max(most, p.MS)
		}
		longest = max(longest, len(s.values))
		c.Series = append(c.Series, s)
	}
	if len(c.Series) == 0 {
		return c, nil
	}
	x := across(median, float64(median+longest-1))
	from, to := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
	if to <= from {
		to = from + 1
	}
	log := upward(from, to)
	y := func(ms float64) float64 { return log(math.Log10(ms)) }
	fine := []float64{1}
	if to-from <= decadesWithFineTicks {
		fine = []float64{1, 2, 5}
	}
	for decade := from; decade <= to; decade++ {
		for _, times := range fine {
			if ms := times * math.Pow(10, decade); math.Log10(ms) <= to {
				c.YTicks = append(c.YTicks, mark{y(ms), inTime(ms)})
			}
		}
	}
	xs, heads := make([]float64, longest), make([]string, longest)
	for i := range longest {
		xs[i], heads[i] = x(float64(median+i)), percent(shareAt(median+i))
	}
	for _, share := range []float64{0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999} {
		if at := -perNine * math.Log10(1-share); at <= float64(median+longest-1) {
			c.XTicks = append(c.XTicks, mark{x(at), percent(share)})
		}
	}
	for i := range c.Series {
		c.Series[i].line(xs, y)
	}
	return c, c.hover(xs, heads, func(v float64) string { return fmt.Sprintf("%.2f ms", v) })
}

// inTime writes milliseconds as ms or s.
func inTime(ms float64) string {
	const second = 1000
	if ms >= second {
		return short(ms/second) + " s"
	}
	return short(ms) + " ms"
}

var styles = map[string]string{"won": "solid", "refused": "dashed", "failed": "dotted"}

// percent writes a share with as many nines as it has.
func percent(share float64) string {
	return strconv.FormatFloat(math.Round(share*1e8)/1e6, 'f', -1, 64) + " %"
}

// stock shows where the units were; where but few of them went, these alone.
func (r *Report) stock() (*chart, error) {
	const few = 0.4
	total, gone := float64(max(r.Drop.Total, 1)), 0.0
	for _, p := range r.Stock {
		gone = max(gone, float64(p.Held+p.Sold))
	}
	c := newChart("Stock", "where the drop's units were")
	names := []string{"sold", "held", "available"}
	_, step := niceTop(total)
	top, ticks := total, math.Floor(total/step)*step
	if gone < few*total {
		c.Note = "where units went; the rest of " + grouped(r.Drop.Total) + " stayed available"
		names = names[:2]
		top, step = niceTop(gone)
		ticks = top
	}
	end := r.Stock[len(r.Stock)-1].Second
	x, y := across(0, end), upward(0, top)
	xs, floor := make([]float64, len(r.Stock)), make([]float64, len(r.Stock))
	heads := make([]string, len(r.Stock))
	for _, name := range names {
		s := series{Name: name, Colour: name, Style: "area"}
		for i, p := range r.Stock {
			xs[i], heads[i] = x(p.Second), fmt.Sprintf("%.1f s", p.Second)
			s.values = append(s.values, float64(map[string]int64{"sold": p.Sold, "held": p.Held, "available": p.Available}[name]))
		}
		s.area(xs, floor, y)
		c.Series = append(c.Series, s)
	}
	c.yTicks(ticks, step, y)
	c.seconds(end, x)
	return c, c.hover(xs, heads, func(v float64) string { return grouped(int64(v)) })
}
