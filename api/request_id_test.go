package api_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestEveryAnswerBearsARequestID(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	seen := map[string]bool{}
	for _, call := range []struct{ method, path, body string }{
		{"GET", "/healthz", ""},
		{"GET", "/readyz", ""},
		{"GET", "/metrics", ""},
		{"GET", "/api/drops", ""},
		{"GET", "/", ""},
		{"GET", "/nowhere", ""},
		{"DELETE", "/healthz", ""},
		{"NONSENSE", "/healthz", ""},
		{"GET", "/ws", ""},
		{"POST", "/api/drops/reserve", "{"},
		{"POST", "/api/drops/reserve", `{"dropId":1}`},
		{"POST", "/api/drops/purchase", `{"reservationId":` + strings.Repeat("1", 20<<10) + `}`},
	} {
		header := http.Header{}
		if call.body != "" {
			header.Set("Content-Type", "application/json")
		}
		r := s.do(t, call.method, call.path, call.body, header)
		id := r.header.Get("X-Request-Id")
		if len(id) < 18 || seen[id] {
			t.Errorf("%s %s: request id %q", call.method, call.path, id)
		}
		seen[id] = true
	}
	for given, taken := range map[string]bool{
		"a":                                true,
		"0a1B.c_d-e":                       true,
		strings.Repeat("x", 64):            true,
		strings.Repeat("x", 65):            false,
		"":                                 false,
		"two words":                        false,
		"<script>":                         false,
		`quote"`:                           false,
		"ünicode":                          false,
		"tab\there":                        false,
		"percent%0aline":                   false,
		"../../etc/passwd":                 false,
		"equals=sign":                      false,
		"4bf92f35-77b3-4da6-a3ce-929d0e0e": true,
	} {
		r := s.do(t, "GET", "/healthz", "", http.Header{"X-Request-Id": {given}})
		if got := r.header.Get("X-Request-Id"); (got == given) != taken || got == "" {
			t.Errorf("of the id %q came %q", given, got)
		}
	}
}
