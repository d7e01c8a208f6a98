package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// State is how a check came out.
type State string

// The states: Fail breaks a promise or keeps Holdfast from running, Warn does not.
const (
	OK   State = "ok"
	Warn State = "warn"
	Fail State = "fail"
)

// Finding is what one check found.
type Finding struct {
	Check string `json:"check"` // such as "redis rights"
	State State  `json:"state"`
	Says  string `json:"says"`
	Mend  string `json:"mend,omitempty"` // what to do; "" where all is well
}

// Report is all that was found, in the order in which it was looked at.
type Report struct {
	Findings []Finding `json:"findings"`
}

func (r *Report) ok(check, says string, args ...any) { r.add(check, OK, "", says, args) }

func (r *Report) warn(check, mend, says string, args ...any) { r.add(check, Warn, mend, says, args) }

func (r *Report) fail(check, mend, says string, args ...any) { r.add(check, Fail, mend, says, args) }

func (r *Report) add(check string, state State, mend, says string, args []any) {
	r.Findings = append(r.Findings, Finding{check, state, fmt.Sprintf(says, args...), mend})
}

// Count is how many findings have the state.
func (r *Report) Count(s State) (n int) {
	for _, f := range r.Findings {
		if f.State == s {
			n++
		}
	}
	return n
}

// JSON writes the report as one object.
func (r *Report) JSON(to io.Writer) error {
	return json.NewEncoder(to).Encode(struct {
		*Report
		Warnings int `json:"warnings"`
		Failures int `json:"failures"`
	}{r, r.Count(Warn), r.Count(Fail)})
}

// Print writes the report for people: a line a finding, and below it how to
// mend what is not well.
func (r *Report) Print(to io.Writer) error {
	width := 0
	for _, f := range r.Findings {
		width = max(width, len(f.Check))
	}
	var text strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&text, "%-4s  %-*s  %s\n", f.State, width, f.Check, f.Says)
		if f.Mend != "" {
			fmt.Fprintf(&text, "%*s→ %s\n", width+8, "", f.Mend)
		}
	}
	switch failures, warnings := r.Count(Fail), r.Count(Warn); {
	case failures > 0:
		fmt.Fprintf(&text, "\n%d to mend before anything is sold, %d to look at.\n", failures, warnings)
	case warnings > 0:
		fmt.Fprintf(&text, "\nIt will do; %d to look at.\n", warnings)
	default:
		text.WriteString("\nAll is well.\n")
	}
	_, err := io.WriteString(to, text.String())
	return err
}
