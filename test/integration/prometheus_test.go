package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// The files of an operator, from this package's folder.
const observability = "../../docs/observability"

// program is the path of one of Prometheus's programs.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: run .ci/install prometheus", err)
	}
	return path
}

// promtool runs promtool in the operator's folder, and fails the test where it finds a fault.
func promtool(t testing.TB, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t, "promtool"), args...)
	cmd.Dir = observability
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}

// prometheus is a server of the test's own, with the operator's alert rules.
type prometheus struct {
	url  string
	http *http.Client
}

// startPrometheus starts one that looks at the instances every second.
func startPrometheus(t testing.TB, instances ...*harness.Process) *prometheus {
	t.Helper()
	rules, err := filepath.Abs(filepath.Join(observability, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	targets := make([]string, 0, len(instances))
	for _, p := range instances {
		u, err := url.Parse(p.URL)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, u.Host)
	}
	config, err := json.Marshal(object{ // which is YAML too
		"global":     object{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{rules},
		"scrape_configs": []object{
			{
				"job_name": "holdfast", "authorization": object{"credentials": harness.AdminToken},
				"static_configs": []object{{"targets": targets}},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + harness.FreePort(t)
	server := harness.NewProcess(t, program(t, "prometheus"), nil,
		"--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	server.Start()
	p := &prometheus{url: "http://" + address, http: &http.Client{Timeout: 10 * time.Second}}
	t.Cleanup(p.http.CloseIdleConnections)
	harness.Eventually(t, 60*time.Second, func() error {
		if server.Ended() {
			t.Fatalf("prometheus ended:\n%s", server.Log())
		}
		return p.get("/-/ready", nil)
	})
	return p
}

func (p *prometheus) get(path string, result any) error {
	res, err := p.http.Get(p.url + path)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s: %s", path, res.Status, body)
	case result == nil:
		return nil
	}
	return json.Unmarshal(body, result)
}

// sample is one line of a query's result.
type sample struct {
	Labels map[string]string `json:"metric"`
	Value  [2]any            // time and number, the latter as text
}

// query gives what an expression comes to now.
func (p *prometheus) query(expression string) ([]sample, error) {
	var answer struct{ Data struct{ Result []sample } }
	err := p.get("/api/v1/query?query="+url.QueryEscape(expression), &answer)
	return answer.Data.Result, err
}
