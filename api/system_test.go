package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

func TestDescription(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	file, err := os.ReadFile("openapi.yaml")
	must(t, err)
	served := s.get(t, "/openapi.yaml").want(t, 200)
	if !bytes.Equal(served.raw, file) {
		t.Error("/openapi.yaml is not the file")
	}
	var fromYAML, fromJSON map[string]any
	must(t, yaml.Unmarshal(file, &fromYAML))
	must(t, json.Unmarshal(s.get(t, "/openapi.json").want(t, 200).raw, &fromJSON))
	asJSON, err := json.Marshal(fromYAML)
	must(t, err)
	must(t, json.Unmarshal(asJSON, &fromYAML))
	if !reflect.DeepEqual(fromYAML, fromJSON) {
		t.Error("/openapi.json says something else than openapi.yaml")
	}
	docs := s.get(t, "/docs").want(t, 200)
	if kind := docs.header.Get("Content-Type"); kind != "text/html; charset=utf-8" || !bytes.Contains(docs.raw, []byte("/openapi.json")) {
		t.Errorf("/docs is %q: %.200s", kind, docs.raw)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop, user := s.drop(t, nil), s.user(t, "ada")
	s.hold(t, drop, user)
	s.get(t, "/a-path-that-no-label-may-have").want(t, 404)
	s.do(t, http.MethodDelete, "/healthz", "", nil).want(t, 405)
	s.get(t, fmt.Sprint("/api/drops/", drop)).want(t, 200)
	text := string(s.get(t, "/metrics").want(t, 200).raw)
	for _, series := range []string{
		`holdfast_http_request_seconds_count{method="POST",route="/api/drops/reserve",status="201"} 1`,
		`holdfast_http_request_seconds_count{method="GET",route="/api/drops/:id",status="200"} 1`,
		`holdfast_http_request_seconds_count{method="GET",route="none",status="404"} 1`,
		`holdfast_http_request_seconds_count{method="DELETE",route="none",status="405"} 1`,
	} {
		if !strings.Contains(text, series) {
			t.Errorf("no %s in\n%s", series, text)
		}
	}
	if strings.Contains(text, "no-label") {
		t.Error("a path that a client made up is a label")
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	const origin = "https://shop.example"
	s := newServer(t, func(w *wiring) {
		w.api = func(c *api.Config) { c.CORSOrigins = []string{origin, "http://localhost:5173"} }
	})
	preflight := http.Header{
		"Origin": {origin}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"content-type,idempotency-key"},
	}
	r := s.do(t, http.MethodOptions, "/api/drops/reserve", "", preflight).want(t, 204)
	if r.header.Get("Access-Control-Allow-Origin") != origin || !strings.Contains(r.header.Get("Access-Control-Allow-Methods"), "POST") ||
		!strings.Contains(r.header.Get("Access-Control-Allow-Headers"), "Idempotency-Key") {
		t.Errorf("preflight: %v", r.header)
	}
	for _, path := range []string{"/api/drops", "/nowhere"} { // errors can be read, too
		r := s.do(t, http.MethodGet, path, "", http.Header{"Origin": {origin}})
		if r.header.Get("Access-Control-Allow-Origin") != origin || !strings.Contains(r.header.Get("Access-Control-Expose-Headers"), "Retry-After") {
			t.Errorf("%s: %v", path, r.header)
		}
	}
	r = s.do(t, http.MethodGet, "/api/drops", "", http.Header{"Origin": {"https://evil.example"}})
	if allowed := r.header.Get("Access-Control-Allow-Origin"); allowed != "" {
		t.Errorf("another origin is allowed: %q", allowed)
	}

	off := newServer(t)
	r = off.do(t, http.MethodGet, "/api/drops", "", http.Header{"Origin": {origin}}).want(t, 200)
	if allowed := r.header.Get("Access-Control-Allow-Origin"); allowed != "" {
		t.Errorf("without configuration %q is allowed", allowed)
	}
	off.do(t, http.MethodOptions, "/api/drops/reserve", "", preflight).want(t, 405)

	all := newServer(t, func(w *wiring) { w.api = func(c *api.Config) { c.CORSOrigins = []string{"*"} } })
	r = all.do(t, http.MethodGet, "/api/drops", "", http.Header{"Origin": {origin}}).want(t, 200)
	if allowed := r.header.Get("Access-Control-Allow-Origin"); allowed != "*" {
		t.Errorf("with * %q is allowed", allowed)
	}
}

// hollow are parts that any call panics on.
func hollow() api.Config {
	return api.Config{Engine: new(engine.Engine), Store: new(persist.Store), Users: new(persist.Users), Admin: harness.AdminToken, Log: quiet()}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for _, origins := range [][]string{
		{""}, {"shop.example"}, {"https://"}, {"https://shop.example/"}, {"https://shop.example/path"}, {"ftp://shop.example"}, {"null"},
		{"https://*"}, {"https://*."}, {"https://*.*.example"}, {"https://shop.*.example"}, {"https://a.example,b"}, {"*", "https://shop.example"},
	} {
		cfg := hollow()
		cfg.CORSOrigins = origins
		if _, err := api.New(cfg); err == nil || api.CheckOrigins(origins) == nil {
			t.Errorf("origins %q are taken", origins)
		}
	}
	for _, origins := range [][]string{nil, {"*"}, {"https://*.shop.example", "http://localhost:5173", "http://[::1]:80"}} {
		cfg := hollow()
		cfg.CORSOrigins = origins
		if _, err := api.New(cfg); err != nil || api.CheckOrigins(origins) != nil {
			t.Errorf("origins %q: %v", origins, err)
		}
	}
	for name, remove := range map[string]func(*api.Config){
		"engine": func(c *api.Config) { c.Engine = nil },
		"store":  func(c *api.Config) { c.Store = nil },
		"users":  func(c *api.Config) { c.Users = nil },
	} {
		cfg := hollow()
		if remove(&cfg); func() error { _, err := api.New(cfg); return err }() == nil {
			t.Errorf("no %s is taken", name)
		}
	}
}

func TestPanicIsAnInternalError(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := newServer(t, func(w *wiring) {
		w.api = func(cfg *api.Config) {
			cfg.Users, cfg.Log = new(persist.Users), slog.New(slog.NewTextHandler(&log, nil))
		}
	})
	r := c.post(t, "/api/users", fields{"username": "ada"}).want(t, 500)
	id, _ := r.body["request_id"].(string)
	if want := fmt.Sprintf(`{"error":"Internal error","code":"internal_error","request_id":"%s"}`, id); string(r.raw) != want || len(id) < 16 {
		t.Errorf("answer %s, want the id alone", r.raw)
	}
	other := c.post(t, "/api/users", fields{"username": "ada"}).want(t, 500)
	if other.body["request_id"] == id {
		t.Error("two errors have one id")
	}
	for _, want := range []string{id, "nil pointer", "users.go", "route=/api/users"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, log.String())
		}
	}
	c.get(t, "/healthz").want(t, 200)
	text := string(c.get(t, "/metrics").want(t, 200).raw)
	if want := `{method="POST",route="/api/users",status="500"} 2`; !strings.Contains(text, want) {
		t.Errorf("no %s in\n%s", want, text)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const stock, buyers = 20, 100
	drop := s.drop(t, fields{"total_stock": stock, "limit_per_customer": 1})
	type answer struct {
		status int
		body   struct {
			ID, UserID int64
			Code       string
		}
	}
	reserve := func(i int) (a answer, err error) {
		body := fmt.Sprintf(`{"dropId":%d,"userName":"buyer %d"}`, drop, i)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/api/drops/reserve", strings.NewReader(body))
		if err != nil {
			return a, err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", fmt.Sprint("key ", i))
		resp, err := s.http.Do(req)
		if err != nil {
			return a, err
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			return a, err
		}
		a.status = resp.StatusCode
		return a, json.Unmarshal(raw, &a.body)
	}
	var mu sync.Mutex
	owner, sold := map[int64]int{}, map[int]int64{} // reservation → buyer and back
	var all sync.WaitGroup
	for i := range 2 * buyers { // each twice, with the same key
		all.Go(func() {
			a, err := reserve(i % buyers)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				t.Error(err)
			case a.status == 201:
				if by, ok := owner[a.body.ID]; ok && by != i%buyers {
					t.Errorf("reservation %d is of buyers %d and %d", a.body.ID, by, i%buyers)
				}
				owner[a.body.ID] = i % buyers
				if id, ok := sold[i%buyers]; ok && id != a.body.ID {
					t.Errorf("buyer %d has %d and %d", i%buyers, id, a.body.ID)
				}
				sold[i%buyers] = a.body.ID
			case a.status != 400 || a.body.Code != "out_of_stock":
				t.Errorf("answer %+v", a)
			}
		})
	}
	all.Wait()
	if len(owner) != stock {
		t.Errorf("%d reservations, want %d", len(owner), stock)
	}
	s.wantStock(t, drop, 0, stock, 0)
}

func TestWithoutTheRoleOfAnAPI(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) { w.api = func(c *api.Config) { c.Roles = []string{"expirer", "writer"} } })
	for _, path := range []string{"/api/drops", "/api/drops/1", "/api/users/1", "/api/reservations/1"} {
		s.get(t, path).refused(t, 404, "not_found", "Route not found")
	}
	s.postRaw(t, "/api/drops/reserve", valid["/api/drops/reserve"]).refused(t, 404, "not_found", "Route not found")
	s.get(t, "/readyz").want(t, 200).has(t, fields{"roles": []string{"expirer", "writer"}})
	s.get(t, "/metrics").want(t, 200)
}
