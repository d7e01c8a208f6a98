package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.yaml.in/yaml/v3"

	"github.com/holdfast/holdfast/test/harness"
)

func TestAlertRules(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "config", "--syntax-only", "prometheus.yml")
	promtool(t, "check", "rules", "alerts.yml")
	promtool(t, "test", "rules", "alerts_test.yml")

	manual := operatorFile(t, "README.md")
	names := map[string]bool{}
	for _, r := range rules(t) {
		if names[r.Alert] {
			t.Errorf("two alerts are called %s", r.Alert)
		}
		names[r.Alert] = true
		if !strings.Contains(manual, "`"+r.Alert+"`") {
			t.Errorf("README.md does not say what to do about %s", r.Alert)
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" || r.Annotations["summary"] == "" {
			t.Errorf("%s: severity %q, summary %q", r.Alert, s, r.Annotations["summary"])
		}
	}
	if len(names) < 15 {
		t.Errorf("%d alerts", len(names))
	}
	for _, m := range regexp.MustCompile("`(Holdfast[A-Za-z]+)`").FindAllStringSubmatch(manual, -1) {
		if !names[m[1]] {
			t.Errorf("README.md tells of %s, which is no alert", m[1])
		}
	}
}

type rule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func rules(t testing.TB) (all []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal([]byte(operatorFile(t, "alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// operatorFile is the text of one of the operator's files.
func operatorFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(observability, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// panelQuery is one query of the dashboard.
type panelQuery struct{ panel, expr string }

// dashboard is every query of the dashboard, for all instances and drops.
func dashboard(t testing.TB) (all []panelQuery) {
	t.Helper()
	var file struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(operatorFile(t, "grafana/dashboards/holdfast.json")), &file); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$__rate_interval", "15s", "$instance", ".*", "$drop", ".*")
	for _, p := range file.Panels {
		for _, q := range p.Targets {
			all = append(all, panelQuery{p.Title, fill.Replace(q.Expr)})
		}
	}
	if len(all) < 30 {
		t.Fatalf("%d queries were found in the dashboard", len(all))
	}
	return all
}

// TestDashboardShowsASale runs a small sale under a real Prometheus: every query
// of the dashboard gives numbers, every metric that an alert asks for is there,
// and no alert goes off.
func TestDashboardShowsASale(t *testing.T) {
	t.Parallel()
	own := harness.Own(t, harness.OwnOptions{})
	d := deploymentOn(t, &own.Env)
	p := d.serve(t, "--audit-every", "1s")
	look := startPrometheus(t, p)
	s := newShop(t, p)

	socket, res, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(p.URL, "http")+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		for {
			if _, _, err := socket.ReadMessage(); err != nil {
				return
			}
		}
	}()
	defer func() { _ = socket.Close(); <-watching }()

	queries, people := dashboard(t), d.people(t, 20)
	selling, lapsing := s.open(100_000, nil), s.open(100_000, object{"hold_seconds": 1})
	gone := s.open(1, nil)
	s.mustReserve(object{"dropId": gone, "userId": people[0]})
	sell := func() { // a little of everything
		for _, person := range people {
			bought := s.mustReserve(object{"dropId": selling, "userId": person})
			s.mustBuy(bought.ID)
			s.call("POST", "/api/drops/cancel", object{"reservationId": s.mustReserve(object{"dropId": selling, "userId": person}).ID}, nil)
			s.mustReserve(object{"dropId": lapsing, "userId": person})
			s.reserve(object{"dropId": gone, "userId": person})
			s.call("GET", "/api/drops", nil, nil)
		}
	}
	missing := queries
	harness.Eventually(t, 90*time.Second, func() error {
		sell()
		missing = slices.DeleteFunc(missing, func(q panelQuery) bool {
			found, err := look.query(q.expr)
			if err != nil {
				t.Fatalf("%s: %s: %v", q.panel, q.expr, err)
			}
			return slices.ContainsFunc(found, func(s sample) bool { return s.Value[1] != "NaN" })
		})
		if len(missing) > 0 {
			return fmt.Errorf("%d queries show nothing: %q", len(missing), missing)
		}
		return nil
	})

	there := string(s.call("GET", "/metrics", nil, nil).body)
	for _, r := range rules(t) {
		for _, name := range regexp.MustCompile(`holdfast_[a-z_]+|process_[a-z_]+`).FindAllString(r.Expr, -1) {
			if !strings.Contains(there, "\n"+name+"{") && !strings.Contains(there, "\n"+name+" ") {
				t.Errorf("%s asks for %s, which is not among the metrics", r.Alert, name)
			}
		}
	}
	firing, err := look.query(`ALERTS{alertstate="firing"}`)
	if err != nil || len(firing) > 0 {
		t.Errorf("alerts went off: %v, %v", firing, err)
	}
}

// TestAlertsGoOff has what must never be found by a real Prometheus.
func TestAlertsGoOff(t *testing.T) {
	t.Parallel()
	own := harness.Own(t, harness.OwnOptions{})
	d := deploymentOn(t, &own.Env)
	p := d.serve(t, "--audit-every", "1s")
	look := startPrometheus(t, p)
	s := newShop(t, p)
	id := s.open(10, nil)
	// A foreign hand.
	if _, err := d.db.Exec(t.Context(), `UPDATE drop_sizes SET sold = 3 WHERE drop_id = $1`, id); err != nil {
		t.Fatal(err)
	}
	pending := func(name string) error {
		found, err := look.query(fmt.Sprintf(`ALERTS{alertname=%q}`, name))
		if err == nil && len(found) == 0 {
			err = errors.New(name + " does not go off")
		}
		return err
	}
	harness.Eventually(t, 60*time.Second, func() error { return pending("HoldfastDrift") })
	own.StopPostgres()
	harness.Eventually(t, 60*time.Second, func() error { return pending("HoldfastPostgresAway") })
	p.Kill()
	harness.Eventually(t, 60*time.Second, func() error { return pending("HoldfastDown") })
}

// TestMetricsAreWellNamedAndFew lints the metrics as Prometheus's own tools do,
// and has a client try to make labels up.
func TestMetricsAreWellNamedAndFew(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	s := newShop(t, d.serve(t, "--audit-every", "1s", "--metrics-drops", "3"))
	people := d.people(t, 2)
	for range 5 {
		id := s.open(2, nil)
		s.mustBuy(s.mustReserve(object{"dropId": id, "userId": people[0]}).ID)
	}
	visit := func(round int) {
		for i, method := range []string{"GET", "POST", "DELETE", "PUT", "PATCH", "TRACE", "OPTIONS", "PROPFIND", fmt.Sprint("MADE", round, "UP")} {
			for _, path := range []string{
				"/made-up-%d", "/api/made-up-%d", "/api/drops/%d", "/api/drops/%d/holds", "/api/reservations/%d", "/api/users/%d", "/assets/%d.js",
				"/api/drops/reserve/%d", "/socket.io/?x=%d", "/ws?drops=%d", "/%%2e%%2e/%d", "/metrics/%d", "/healthz?%d",
			} {
				if a := s.call(method, fmt.Sprintf(path, 900+20*round+i), nil, nil, "X-Request-Id", fmt.Sprint("round", round)); a.status == 0 {
					t.Fatalf("%s %s: %v", method, path, a)
				}
			}
		}
	}
	series := func() (n int, text []byte) {
		text = s.call("GET", "/metrics", nil, nil).body
		for line := range bytes.Lines(text) {
			if !bytes.HasPrefix(line, []byte("#")) {
				n++
			}
		}
		return n, text
	}
	visit(0)
	s.call("GET", "/metrics", nil, nil) // its own series
	before, _ := series()
	for round := range 10 {
		visit(round + 1)
	}
	after, text := series()
	// What is not up to a caller may come meanwhile: one series at most for each
	// of the parts that tell of the audit.
	if after > before+10 || after > 2500 {
		t.Errorf("%d series before, %d after paths and methods were made up", before, after)
	}
	if drops := bytes.Count(text, []byte("\nholdfast_drop_total_units{")); drops != 3 {
		t.Errorf("the units of %d drops are shown, want 3", drops)
	}
	for _, made := range []string{"made", "MADE", "PROPFIND", "round"} {
		if bytes.Contains(text, []byte(made+"-up")) || bytes.Contains(text, []byte(made+"1")) {
			t.Errorf("a client made up a label:\n%s", text)
		}
	}
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestOneInstanceAuditsAndAllTell runs two instances that audit each second.
func TestOneInstanceAuditsAndAllTell(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	one := newShop(t, d.serve(t, "--audit-every", "1s"))
	other := newShop(t, d.serve(t, "--audit-every", "1s"))
	id := one.open(5, nil)
	drift := func(want string) {
		t.Helper()
		harness.Eventually(t, 60*time.Second, func() error {
			for i, s := range []*shop{one, other} {
				if a := s.call("GET", "/metrics", nil, nil); a.status != http.StatusOK || !bytes.Contains(a.body, []byte("\nholdfast_audit_drift "+want+"\n")) {
					return fmt.Errorf("instance %d does not tell of %s differences", i, want)
				}
			}
			return nil
		})
	}
	drift("0")
	if _, err := d.db.Exec(t.Context(), `UPDATE drop_sizes SET sold = 2 WHERE drop_id = $1`, id); err != nil {
		t.Fatal(err)
	}
	drift("1")
	if _, err := d.db.Exec(t.Context(), `UPDATE drop_sizes SET sold = 0 WHERE drop_id = $1`, id); err != nil {
		t.Fatal(err)
	}
	drift("0")
}
