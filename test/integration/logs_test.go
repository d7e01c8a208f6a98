package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// TestLogsHoldNoSecrets plants words where a caller's secrets are, has all kinds
// of calls succeed and fail at debug level, with stores away too, and looks for
// the words in the log.
func TestLogsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	own := harness.Own(t, harness.OwnOptions{})
	d := deploymentOn(t, &own.Env)
	port := harness.FreePort(t)
	p := command(t, append(d.env(), "HOLDFAST_LOG_LEVEL=debug", "HOLDFAST_LOG_FORMAT=json"),
		"serve", "--host", "127.0.0.1", "--port", port, "--audit-every", "1s")
	p.URL = "http://127.0.0.1:" + port
	p.Start()
	p.Ready()
	s := newShop(t, p)
	header := []string{
		"Authorization", "Bearer planted-token", "Cookie", "session=planted-cookie", "Idempotency-Key", "planted-key",
		"X-Forwarded-For", "203.0.113.77", "X-Api-Key", "planted-api-key", "X-Request-Id", "an id\twith planted-spaces",
	}
	user := object{"username": "planted-name", "email": "planted@example.com"}
	call := func() {
		t.Helper()
		id := int64(1)
		for _, c := range []struct {
			method, path string
			body         any
		}{
			{"POST", "/api/users?access_token=planted-query", user},
			{"POST", "/api/drops/create", object{"name": "planted-drop", "price": 1, "total_stock": 1, "start_time": time.Now().UTC().Format(time.RFC3339)}},
			{"POST", "/api/drops/reserve?token=planted-query", object{"dropId": id, "userName": "planted-name", "email": "planted@example.com"}},
			{"POST", "/api/drops/reserve", object{"dropId": id, "planted-field": "planted-value"}},
			{"POST", "/api/drops/reserve", object{"dropId": id, "userName": "other", "email": "planted at example.com"}},
			{"POST", "/api/drops/purchase", object{"reservationId": "planted-text"}},
			{"POST", "/api/drops/purchase", object{"reservationId": 77}},
			{"GET", "/api/users/planted@example.com", nil},
			{"GET", "/planted-path/planted@example.com?planted-query", nil},
			{"GET", "/api/drops?planted-query=1", nil},
			{"GET", "/api/reservations/1?email=planted@example.com", nil},
			{"PLANTED", "/planted-path", nil},
			{"GET", "/ws?drops=planted-query", nil},
		} {
			if a := s.call(c.method, c.path, c.body, nil, header...); a.status == 0 {
				t.Errorf("%s %s: %v", c.method, c.path, a)
			}
		}
	}
	call()
	own.StopPostgres()
	call()
	own.StopRedis()
	call()

	log := p.Log()
	for _, word := range []string{"planted", "PLANTED", "203.0.113.77", "example.com", "Bearer"} {
		if at := strings.Index(log, word); at >= 0 {
			t.Errorf("%q is in the log: %s", word, log[max(0, at-200):min(len(log), at+200)])
		}
	}
	requests := 0
	for line := range strings.Lines(log) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("a line of the log is no JSON: %s", line)
		}
		if entry["msg"] == "request" {
			requests++
			if entry["request_id"] == "" || entry["route"] == "" || entry["status"] == nil {
				t.Errorf("a request's line lacks something: %s", line)
			}
		}
	}
	if requests < 3*13 {
		t.Errorf("%d requests are in the log", requests)
	}
}

// TestAnInternalErrorIsFoundByItsRequestID has the id that a caller sent in the
// answer and in the log.
func TestAnInternalErrorIsFoundByItsRequestID(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	p := d.serve(t)
	s := newShop(t, p)
	if _, err := d.db.Exec(t.Context(), `ALTER TABLE users RENAME COLUMN username TO name`); err != nil { // a foreign hand
		t.Fatal(err)
	}
	a := s.call("POST", "/api/users", object{"username": "ada"}, nil, "X-Request-Id", "my.request-7")
	if a.status != http.StatusInternalServerError || !strings.Contains(string(a.body), `"request_id":"my.request-7"`) {
		t.Errorf("answer %v", a)
	}
	harness.Eventually(t, 10*time.Second, func() error {
		for line := range strings.Lines(p.Log()) {
			if strings.Contains(line, "request_id=my.request-7") && strings.Contains(line, "route=/api/users") && strings.Contains(line, "err=") {
				return nil
			}
		}
		return fmt.Errorf("the error is not in the log:\n%s", p.Log())
	})
}
