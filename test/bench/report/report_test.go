package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sample() *Report {
	r := &Report{
		At: time.Date(2026, 11, 24, 18, 0, 0, 0, time.UTC), Connections: 256, Rounds: 3, Seconds: 3,
		Machine: Machine{CPUs: 2, CPU: "Some CPU", System: "linux/amd64", Go: "go1.26", Redis: "Redis 7.0", Postgres: "Postgres 15", Load: 1.5},
	}
	p := r.Phase("reserve", "Successful reserves a second", "/s")
	for _, v := range []float64{60_000, 64_000, 62_000} {
		p.Add("HTTP alone", v)
		p.Add("Holdfast <&>", v*0.625)
	}
	p.Add("Row lock", 403)
	return r
}

func TestSeries(t *testing.T) {
	t.Parallel()
	s := Series{3, 1, 2}
	if s.Median() != 2 || s.Min() != 1 || s.Max() != 3 || !reflect.DeepEqual(s, Series{3, 1, 2}) {
		t.Errorf("%v: median %v, %v … %v", s, s.Median(), s.Min(), s.Max())
	}
	if m := (Series{4, 1, 2, 9}).Median(); m != 3 {
		t.Errorf("median of four: %v", m)
	}
	var none Series
	if none.Median() != 0 || none.Min() != 0 || none.Max() != 0 {
		t.Error("of none")
	}
	if over := s.Over(Series{6, 4, 0}); !reflect.DeepEqual(over, Series{0.5, 0.25}) {
		t.Errorf("over: %v", over)
	}
}

func TestGoals(t *testing.T) {
	t.Parallel()
	r := sample()
	p := r.Find("reserve")
	r.AtLeast("reserves", 0.6, "", p.Figures("Holdfast <&>").Over(p.Figures("HTTP alone")))
	r.AtLeast("more", 0.63, "", Series{0.7, 0.62, 0.5})
	r.AtMost("memory", 60, "MB", Series{61, 59, 60})
	r.AtMost("processor", 1, "%", Series{2, 2, 0.5})
	r.AtMost("not measured", 1, "%", r.Find("nothing").Figures("Holdfast"))
	met := map[string]bool{}
	for _, g := range r.Goals {
		met[g.What] = g.Met
	}
	if want := map[string]bool{"reserves": true, "more": false, "memory": true, "processor": false}; !reflect.DeepEqual(met, want) {
		t.Errorf("%v, want %v", met, want)
	}
	var out bytes.Buffer
	r.Correct = true
	if r.Print(&out); strings.Contains(out.String(), "WRONG") {
		t.Errorf("wrong:\n%s", out.String())
	}
	r.Correct = false
	r.Print(&out)
	for _, want := range []string{
		"WRONG", "load 1.5",
		"  HTTP alone                                     62,000  (60,000 … 64,000)",
		"  Holdfast <&>                                   38,750  (37,500 … 40,000)           0.62 of the first",
		"  met     reserves ", "  MISSED  more ", "0.62  (0.50 … 0.70)", "at least 0.63", "60.0 MB  (59.0 … 61.0)", "at most 60.0 MB",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
}

func TestJSONKeepsAll(t *testing.T) {
	t.Parallel()
	r := sample()
	r.AtLeast("reserves", 0.6, "", Series{0.625})
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"name":"Row lock","figures":{"median":403,"min":403,"max":403,"rounds":[403]}}`; !strings.Contains(string(text), want) {
		t.Errorf("lacks %s:\n%s", want, text)
	}
	var back *Report
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("%v\n%+v\n%+v", err, back, r)
	}
}

func TestChartIsWellFormed(t *testing.T) {
	t.Parallel()
	svg := Chart{Phases: []string{"reserve", "soldout"}, Own: "Holdfast <&>", Ceiling: "HTTP alone"}.Draw(sample())
	bars := map[string]string{} // class → width
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			attrs := map[string]string{}
			for _, a := range e.Attr {
				attrs[a.Name.Local] = a.Value
			}
			bars[attrs["class"]] = attrs["width"]
		}
	}
	// 382 px are the longest, 64,000.
	if bars["bar ceiling"] != "370.1" || bars["bar own"] != "231.3" || bars["bar"] != "2.4" {
		t.Errorf("bars %v", bars)
	}
	for _, want := range []string{"Holdfast &lt;&amp;&gt;", "38,750/s · 62.5 %"} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("lacks %q:\n%s", want, svg)
		}
	}
}
