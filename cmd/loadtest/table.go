package loadtest

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Print writes the report as tables.
func (r *Report) Print(to io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n\n", r.headline())
	for _, f := range r.shown() {
		fmt.Fprintf(&b, "  %-10s %12s /s\n", f.name, grouped(int64(f.rate)))
	}
	if r.Arrivals != nil {
		fmt.Fprintf(&b, "\n  %s were due, %s never sent; the schedule was late by %.1f ms at most\n",
			grouped(r.Arrivals.Scheduled), grouped(r.Arrivals.Dropped), r.Arrivals.LateMS)
	}
	b.WriteByte('\n')
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	width := len("call")
	for _, c := range r.Calls {
		width = max(width, len(c.name()))
	}
	fmt.Fprintf(w, "  %-*s\tcount\t/s\tp50 ms\tp90\tp99\tp99.9\tmax\t\n", width, "call")
	for _, c := range r.Calls {
		l := c.Latency
		fmt.Fprintf(w, "  %-*s\t%s\t%s\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", width, c.name(),
			grouped(c.Count), grouped(int64(c.Rate)), l.P50, l.P90, l.P99, l.P999, l.Max)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.Watchers != nil {
		fmt.Fprintf(&b, "\n  %s watchers were told %s frames, %s a second\n",
			grouped(int64(r.Watchers.Count)), grouped(r.Watchers.Frames), grouped(int64(r.Watchers.Rate)))
	}
	b.WriteByte('\n')
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "  %-4s %s: %s\n", c.word(), c.What, c.Detail)
	}
	fmt.Fprintf(&b, "\nVerdict: %s\n", r.verdict())
	_, err := io.WriteString(to, b.String())
	return err
}

func (r *Report) headline() string {
	loop := "each comes again when served"
	if r.Rate > 0 {
		loop = fmt.Sprintf("%g arrivals a second", r.Rate)
	}
	return fmt.Sprintf("%s: %s buyers, %s, %.1f s, drop %d", r.Scenario, grouped(int64(r.Buyers)), loop, r.ElapsedSeconds, r.Drop.ID)
}

// figure is one of the main ones.
type figure struct {
	name string
	rate float64
}

// shown are the main figures: always who won, who was refused and what failed.
func (r *Report) shown() []figure {
	var all []figure
	if r.Scenario.buys() {
		all = append(all, figure{"won", r.Total.Won}, figure{"refused", r.Total.Refused})
	}
	if r.Total.Bought > 0 {
		all = append(all, figure{"bought", r.Total.Bought})
	}
	if r.Total.Looked > 0 {
		all = append(all, figure{"looked", r.Total.Looked})
	}
	return append(all, figure{"failed", r.Total.Failed})
}

func (c *CallFigures) outcome() string { return strings.TrimSpace(c.Kind + " " + c.Code) }

func (c *CallFigures) name() string { return c.Call + ", " + c.outcome() }

// word is the check's result.
func (c *Check) word() string {
	switch {
	case c.OK == nil:
		return "–"
	case *c.OK:
		return "ok"
	default:
		return "NO"
	}
}

func (r *Report) verdict() string {
	if r.OK {
		return "yes, the server kept its word."
	}
	return "NO, see above."
}
