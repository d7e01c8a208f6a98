package integration

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// loadReport is what a load test prints with --json.
type loadReport struct {
	Scenario string
	Drop     struct {
		ID, Held, Sold int64
		Available      int64 `json:"available_stock"`
		Own            bool
	}
	Total    struct{ Won, Refused, Failed, Bought, Looked float64 }
	Arrivals *struct{ Scheduled, Dropped int64 }
	Watchers *struct{ Count, Frames int64 }
	Calls    []struct {
		Call, Kind, Code string
		Count            int64
		Latency          map[string]float64 `json:"latency_ms"`
	}
	Checks []struct {
		What, Detail string
		OK           *bool
	}
	OK bool
}

// count is how many calls of that name had an outcome: won, or refused with a code.
func (r *loadReport) count(call, outcome string) (n int64) {
	for _, c := range r.Calls {
		if c.Call == call && strings.TrimSpace(c.Kind+" "+c.Code) == outcome {
			n += c.Count
		}
	}
	return n
}

// denied are the checks that say no.
func (r *loadReport) denied() (what []string) {
	for _, c := range r.Checks {
		if c.OK != nil && !*c.OK {
			what = append(what, c.What+": "+c.Detail)
		}
	}
	return what
}

// loadtest makes a load test of the instance at url; page is what it wrote.
func loadtest(t *testing.T, url string, args ...string) (r loadReport, page string, status int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.html")
	printed, status := run(t, nil, append([]string{"loadtest", "--url", url, "--json", "--report", file}, args...)...)
	at := strings.Index(printed, "{")
	if at < 0 {
		t.Fatalf("loadtest %v ended with %d:\n%s", args, status, printed)
	}
	if err := json.NewDecoder(strings.NewReader(printed[at:])).Decode(&r); err != nil {
		t.Fatalf("loadtest %v: %v:\n%s", args, err, printed)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(raw), status
}

// TestLoadtest makes a load test of each scenario, of one drop of its own each,
// and compares it with what the server has.
func TestLoadtest(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	server := d.serve(t)
	s := newShop(t, server)
	for scenario, agrees := range map[string]func(r loadReport, n int64) bool{ // n visits
		"reserve": func(r loadReport, n int64) bool {
			return r.count("reserve", "won") == n && r.Drop.Held == n && r.Drop.Sold == 0 && r.Total.Won > 0
		},
		"checkout": func(r loadReport, n int64) bool {
			return r.count("reserve", "won") == n && r.count("purchase", "won") == r.Drop.Sold && r.Drop.Sold > n/2 &&
				r.Drop.Held == n-r.Drop.Sold-r.count("cancel", "won") && r.Total.Bought > 0
		},
		"soldout": func(r loadReport, n int64) bool {
			return r.count("reserve", "won") == 5 && r.count("reserve", "refused out_of_stock") == n-5 && r.Drop.Available == 0 && r.Drop.Held == 5
		},
		"browse": func(r loadReport, n int64) bool {
			return r.count("list", "won")+r.count("drop", "won") == n && r.count("drop", "won") > 0 && r.Drop.Held+r.Drop.Sold == 0
		},
		"mixed": func(r loadReport, n int64) bool {
			looked := r.count("list", "won") + r.count("drop", "won")
			return looked > n/4 && looked+r.count("reserve", "won") == n && r.count("purchase", "won") == r.Drop.Sold && r.Total.Looked > 0
		},
	} {
		args := []string{"--scenario", scenario, "--rate", "60", "--duration", "1500ms", "--buyers", "8", "--watchers", "5"}
		if scenario == "soldout" {
			args = append(args, "--stock", "5")
		}
		r, page, status := loadtest(t, server.URL, args...)
		if status != 0 || !r.OK || len(r.denied()) > 0 || r.Scenario != scenario || !r.Drop.Own || r.Total.Failed > 0 {
			t.Errorf("%s ended with %d: %+v", scenario, status, r)
		}
		if r.Arrivals == nil || r.Arrivals.Scheduled != 90 || r.Watchers == nil || r.Watchers.Count != 5 || r.Watchers.Frames < 5 {
			t.Fatalf("%s: %+v %+v", scenario, r.Arrivals, r.Watchers)
		}
		if n := r.Arrivals.Scheduled - r.Arrivals.Dropped; !agrees(r, n) { // a slow machine drops some
			t.Errorf("%s, %d visits: %+v", scenario, n, r)
		}
		for _, c := range r.Calls {
			if l := c.Latency; l["p50"] <= 0 || l["p50"] > l["p99"] || l["p99"] > l["max"] {
				t.Errorf("%s: latency %v", scenario, c)
			}
		}
		has := s.drop(r.Drop.ID)
		if int64(has.Held) != r.Drop.Held || int64(has.Sold) != r.Drop.Sold {
			t.Errorf("%s: the server has %+v, the report %+v", scenario, has, r.Drop)
		}
		contains(t, page, "The server kept its word", scenario, "Each watcher ends on the counters of the API", "</html>")
		if strings.Contains(page, "src=") || strings.Contains(page, "href=") {
			t.Errorf("the page of %s asks for other files", scenario)
		}
	}
	d.balanced(t)
}

// TestLoadtestAtFullSpeed lets buyers come as fast as they are served, and
// prints tables.
func TestLoadtestAtFullSpeed(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	server := d.serve(t)
	printed, status := run(t, []string{"HOLDFAST_LOADTEST_URL=" + server.URL, "HOLDFAST_LOADTEST_REPORT=-", "HOLDFAST_LOADTEST_STOCK=60"},
		"loadtest", "--duration", "1200ms", "--buyers", "16")
	if status != 0 {
		t.Errorf("ended with %d:\n%s", status, printed)
	}
	contains(t, printed, "Drop 1 is open, with 60 units.", "16 buyers are known", "won/s", "refused/s", "reserve, refused out_of_stock", "purchase, won", "p99.9",
		"Verdict: yes")
	d.balanced(t)
}

// TestLoadtestOfADropOfOthers buys of a drop with sizes and a limit that is on
// sale already.
func TestLoadtestOfADropOfOthers(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	server := d.serve(t)
	s := newShop(t, server)
	id := s.open(9, object{"limit_per_customer": 3, "sizes": []object{{"size": "42", "stock": 4}, {"size": "43 \"wide\"", "stock": 5}}})
	s.mustBuy(s.mustReserve(object{"dropId": id, "userName": "ada", "size": "42"}).ID)
	r, _, status := loadtest(t, server.URL, "--drop", strconv.FormatInt(id, 10), "--scenario", "checkout", "--buyers", "6",
		"--watchers", "2", "--rate", "50", "--duration", "1s")
	if status != 0 || !r.OK || r.Drop.Own || r.Drop.Sold != 1+r.count("purchase", "won") || r.count("reserve", "won") == 0 ||
		r.count("reserve", "refused out_of_stock")+r.count("reserve", "refused limit_reached") == 0 {
		t.Errorf("ended with %d: %+v", status, r)
	}
	d.balanced(t)
}

// TestLoadtestThatIsCutShort is ended by Ctrl-C, and audited all the same.
func TestLoadtestThatIsCutShort(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	server := d.serve(t)
	p := command(t, nil, "loadtest", "--url", server.URL, "--duration", "10m", "--rate", "50", "--buyers", "4", "--report", "-")
	p.Start()
	harness.Eventually(t, 30*time.Second, func() error {
		if !strings.Contains(p.Log(), "won/s") {
			return errors.New("no progress")
		}
		return nil
	})
	p.Signal(syscall.SIGINT)
	if status := p.Wait(30 * time.Second); status != 0 {
		t.Errorf("ended with %d", status)
	}
	contains(t, p.Log(), "Verdict: yes", "ok   Successes equal units gone")
	d.balanced(t)
}

func TestLoadtestThatCannotBe(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	server := d.serve(t, "--max-sockets-per-address", "2")
	for want, args := range map[string][]string{
		"--url":                                 {"--url", "http://127.0.0.1:" + harness.FreePort(t)},
		"no address like http://127.0.0.1:3000": {"--url", "127.0.0.1:3000"},
		"drop_not_found":                        {"--url", server.URL, "--drop", "99"},
		"buyers must be 1 to":                   {"--url", server.URL, "--buyers", "10001"},
		"HOLDFAST_MAX_SOCKETS_PER_ADDRESS":      {"--url", server.URL, "--watchers", "3"},
	} {
		printed, status := run(t, nil, append([]string{"loadtest", "--report", "-"}, args...)...)
		if status != 1 {
			t.Errorf("%v ended with %d", args, status)
		}
		contains(t, printed, want)
	}
}
