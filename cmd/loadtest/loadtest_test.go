package loadtest

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast/holdfast/cmd/load"
)

func TestGrouped(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0", 7: "7", 999: "999", 1000: "1,000", 1_234_567: "1,234,567", -1000: "-1,000", -7: "-7",
	} {
		if got := grouped(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}

// TestNumbers holds the quick reading of a drop against a decoder.
func TestNumbers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.Int64Range(0, 1<<53-1)
		var d drop
		d.ID, d.Total, d.Version = count.Draw(t, "id"), count.Draw(t, "total"), count.Draw(t, "version")
		d.Available, d.Held, d.Sold = count.Draw(t, "available"), count.Draw(t, "held"), count.Draw(t, "sold")
		d.Name = rapid.String().Draw(t, "name")
		raw, err := json.Marshal(struct {
			Name string `json:"name"` // a name may hold what looks like a number
			drop
		}{`","id":1,"held":2 ` + d.Name, d})
		if err != nil {
			t.Fatal(err)
		}
		c, total, found := countsIn(raw)
		id, hasID := number(raw, nameID)
		version, hasVersion := number(raw, nameVersion)
		if !found || !hasID || !hasVersion || c != d.counts || total != d.Total || id != d.ID || version != d.Version {
			t.Fatalf("%s: %d %d %d %+v", raw, id, version, total, c)
		}
	})
	for _, none := range []string{``, `{}`, `{"id":}`, `{"id":null}`, `{"UserId":5}`} {
		if n, found := number([]byte(none), nameID); found {
			t.Errorf("%s: %d", none, n)
		}
	}
}

func TestAddsUp(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		`{"total_stock":5,"available_stock":2,"held":2,"sold":1,"sizes":[]}`:                                                        true,
		`{"total_stock":5,"available_stock":2,"held":1,"sold":1,"sizes":[]}`:                                                        false,
		`{"total_stock":5,"available_stock":6,"held":-2,"sold":1,"sizes":[]}`:                                                       false,
		`{"total_stock":5,"available_stock":5,"held":0,"sold":0,"sizes":[{"stock":5,"available_stock":5,"held":0,"sold":0}]}`:       true,
		`{"total_stock":5,"available_stock":5,"held":0,"sold":0,"sizes":[{"stock":5,"available_stock":4,"held":0,"sold":0}]}`:       false,
		`{"total_stock":5,"available_stock":5,"held":0,"sold":0,"sizes":[{"stock":4,"available_stock":4,"held":0,"sold":0}]}`:       false,
		`{"total_stock":5,"available_stock":4,"held":1,"sold":0,"sizes":[{"stock":5,"available_stock":4,"held":0,"sold":1}]}`:       false,
		`{"total_stock":5,"available_stock":4,"held":1,"sold":0,"sizes":[{"stock":5,"available_stock":4,"held":1,"sold":0}],"x":1}`: true,
	} {
		var d drop
		if err := json.Unmarshal([]byte(body), &d); err != nil {
			t.Fatal(err)
		}
		if err := d.addsUp(); (err == nil) != want {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// TestBooks counts what calls without an answer leave open.
func TestBooks(t *testing.T) {
	t.Parallel()
	b := closeBooks([]*buyer{
		{ids: []int64{5, 3, 9}, ends: []end{held, bought, maybeBought}, lost: 1},
		{ids: []int64{4, 8, 9, 2}, ends: []end{cancelled, maybeCancelled, bought, lapsed}, lost: 2},
	})
	if n, which := b.twice(); n != 1 || which != 9 {
		t.Errorf("%d ids twice, such as %d", n, which)
	}
	for name, c := range map[string]struct{ got, want span }{
		"sold": {b.sold(), span{2, 3}},
		"held": {b.held(), span{1, 6}},
		"gone": {b.gone(), span{4, 8}},
	} {
		if c.got != c.want {
			t.Errorf("%s: %+v, want %+v", name, c.got, c.want)
		}
	}
	if !b.cameBack() || closeBooks([]*buyer{{ids: []int64{1}, ends: []end{bought}}}).cameBack() {
		t.Error("cameBack")
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	for _, c := range []struct {
		checks []Check
		want   bool
	}{
		{[]Check{{OK: &yes}, {OK: nil}}, true},
		{[]Check{{OK: &yes}, {OK: &no}, {OK: nil}}, false},
	} {
		if got := verdict(c.checks); got != c.want {
			t.Errorf("%+v: %v", c.checks, got)
		}
	}
}

// report is one of a test in which little or much happened.
func report(seconds float64, counts ...int64) *Report {
	r := &Report{
		At: time.Unix(0, 0), URL: "http://127.0.0.1:3000", Scenario: Mixed, Buyers: 3, ElapsedSeconds: seconds,
		Stock: []StockPoint{{0, 100, 0, 0}, {seconds, 40, 20, 40}},
	}
	r.Drop.Total, r.Drop.Name = 100, "<script>alert(1)</script>"
	no := false
	r.Checks = []Check{{What: "Nothing is <b>wrong</b>", Detail: "</p>", OK: &no}, {What: "Open"}}
	for i, n := range counts {
		c := CallFigures{Call: []string{"reserve", "purchase", "drop"}[i%3], Kind: "won", Count: n}
		for point := 0; point <= median+i; point++ {
			c.Curve = append(c.Curve, CurvePoint{shareAt(point), float64(n * int64(point))})
		}
		r.Calls = append(r.Calls, c)
	}
	for range int(math.Ceil(seconds)) {
		r.Seconds = append(r.Seconds, Figures{Won: seconds * 1000})
	}
	return r
}

// TestPage draws pages of all sorts: each number in them is one, and nothing of
// the server's is taken for markup.
func TestPage(t *testing.T) {
	t.Parallel()
	for _, r := range []*Report{report(0.05), report(1, 1), report(1.05, 0, 10), report(90, 20, 1_000_000, 3000, 11)} {
		var page bytes.Buffer
		if err := r.WritePage(&page); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"NaN", "Inf", "<script>alert", "<b>wrong", "ZgotmplZ", "<no value>", "src=", "href=", "url(", "@import", "<link"} {
			if strings.Contains(page.String(), bad) {
				t.Errorf("a page of %.2f s has %q:\n%s", r.ElapsedSeconds, bad, page.String())
			}
		}
		for _, good := range []string{"Throughput", "Stock", "The audit says no", "Nothing is &lt;b&gt;", "</html>"} {
			if !strings.Contains(page.String(), good) {
				t.Errorf("a page of %.2f s has no %q", r.ElapsedSeconds, good)
			}
		}
		var table bytes.Buffer
		if err := r.Print(&table); err != nil || !strings.Contains(table.String(), "NO   Nothing is <b>wrong</b>: </p>") {
			t.Errorf("%v:\n%s", err, table.String())
		}
	}
}

func TestNiceTop(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float64Range(1e-6, 1e12).Draw(t, "v")
		top, step := niceTop(v)
		if top < v*(1-1e-9) || top > 2*v+step || top/step > ticksWanted+1e-9 || step <= 0 {
			t.Fatalf("%v: %v in steps of %v", v, top, step)
		}
	})
}

func TestWrongConfigs(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{
		{Buyers: MaxBuyers + 1}, {Buyers: -1}, {Rate: MaxRate + 1}, {Rate: -1}, {Duration: MaxDuration + 1}, {Duration: 1},
		{Drop: -1}, {Stock: MaxStock + 1}, {Stock: -1}, {Watchers: MaxWatchers + 1}, {Watchers: -1}, {Scenario: "dance"},
	} {
		cfg.URL = "http://127.0.0.1:1"
		if r, err := Run(t.Context(), cfg); err == nil || strings.Contains(err.Error(), "--url") {
			t.Errorf("%+v: %+v %v", cfg, r, err)
		}
	}
	if _, err := Run(t.Context(), Config{URL: "http://127.0.0.1:1"}); err == nil || !strings.Contains(err.Error(), "--url") {
		t.Errorf("nobody there: %v", err)
	}
}

// TestScreen draws one line again and again on a terminal, and lines elsewhere.
func TestScreen(t *testing.T) {
	t.Parallel()
	for _, redraw := range []bool{true, false} {
		var out bytes.Buffer
		s := &screen{to: &out, redraw: redraw}
		m := &sampler{points: []StockPoint{{0, 5, 4, 3}}}
		visits := map[load.Outcome]int64{
			{Code: gotBought}: 10, {Code: gotLooked}: 20, {Kind: load.Refused, Code: "out_of_stock"}: 30, {Kind: load.Failed}: 40,
		}
		s.progress(time.Second, visits, m)
		visits[load.Outcome{Code: gotHeld}] = 3000
		s.progress(3*time.Second, visits, m)
		s.end()
		printed := out.String()
		lines := strings.Count(printed, "\n")
		if redraw && (lines != 1 || strings.Count(printed, "\r") != 2) || !redraw && lines != 2 {
			t.Errorf("redraw %v: %q", redraw, printed)
		}
		for _, want := range []string{"10 won/s", "30 refused/s", "20 looked/s", "40 failed/s", "1,500 won/s", "0 refused/s", "5 available, 4 held, 3 sold"} {
			if !strings.Contains(printed, want) {
				t.Errorf("redraw %v: no %q in %q", redraw, want, printed)
			}
		}
	}
}
