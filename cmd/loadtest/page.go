package loadtest

import (
	_ "embed" // the page
	"fmt"
	"html/template"
	"io"
	"time"
)

//go:embed page.html
var pageHTML string

// WritePage writes the report as one HTML page that needs nothing else.
func (r *Report) WritePage(to io.Writer) error {
	page, err := template.New("page").Funcs(template.FuncMap{
		"grouped": grouped,
		"whole":   func(v float64) string { return grouped(int64(v)) },
		"ms":      func(v float64) string { return fmt.Sprintf("%.2f", v) },
		"stamp":   func(t time.Time) string { return t.Format("2006-01-02 15:04:05 UTC") },
	}).Parse(pageHTML)
	if err != nil {
		return err
	}
	var charts []*chart
	for _, draw := range []func() (*chart, error){r.throughput, r.latency, r.stock} {
		c, err := draw()
		if err != nil {
			return err
		}
		charts = append(charts, c)
	}
	return page.Execute(to, struct {
		*Report
		Figures []pageFigure
		Rows    []pageCall
		Proofs  []pageCheck
		Top     []*chart // throughput and latency
		Units   *chart
		Loop    string
	}{r, r.pageFigures(), r.pageCalls(), r.pageChecks(), charts[:2], charts[2], r.loop()})
}

// pageFigure is one of the large numbers.
type pageFigure struct{ Name, Value, Unit string }

func (r *Report) pageFigures() []pageFigure {
	var all []pageFigure
	for _, f := range r.shown() {
		all = append(all, pageFigure{f.name, grouped(int64(f.rate)), "/s"})
	}
	for i := range r.Calls {
		if c := &r.Calls[i]; c.Kind == "won" && (c.Call == "reserve" || c.Call == "drop" && !r.Scenario.buys()) {
			all = append(all, pageFigure{"p99 of " + c.Call, fmt.Sprintf("%.1f", c.Latency.P99), "ms"})
		}
	}
	return all
}

// pageCall is a row of the table.
type pageCall struct {
	CallFigures
	Outcome string
}

func (r *Report) pageCalls() []pageCall {
	rows := make([]pageCall, 0, len(r.Calls))
	for i := range r.Calls {
		rows = append(rows, pageCall{r.Calls[i], r.Calls[i].outcome()})
	}
	return rows
}

// pageCheck is a check with its word.
type pageCheck struct{ Word, State, What, Detail string }

func (r *Report) pageChecks() []pageCheck {
	all := make([]pageCheck, 0, len(r.Checks))
	for i := range r.Checks {
		c := &r.Checks[i]
		state := "open"
		if c.OK != nil {
			state = map[bool]string{true: "yes", false: "no"}[*c.OK]
		}
		all = append(all, pageCheck{c.word(), state, c.What, c.Detail})
	}
	return all
}

// loop says how buyers come, and what that means for the times.
func (r *Report) loop() string {
	if r.Rate > 0 {
		return "Buyers arrive on a schedule, whether or not those before have been served. A time runs from when the buyer was due, " +
			"so whoever had to wait for a free connection is counted with that wait."
	}
	return "Each buyer comes again once it has been served, so the rates show what the server can do, while a time runs from " +
		"when the call was sent: with all buyers busy it is mostly waiting. For the times at a rate of your choice give --rate."
}
