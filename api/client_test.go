package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/holdfast/holdfast/test/harness"
)

// fields is a JSON object.
type fields map[string]any

// with is base with some fields replaced or added; absent ones are left out.
func with(base, changes fields) fields {
	out := maps.Clone(base)
	for name, value := range changes {
		if out[name] = value; value == absent {
			delete(out, name)
		}
	}
	return out
}

// absent as a value leaves its field out.
var absent any = struct{ absent bool }{true}

// client holds every exchange against openapi.yaml.
type client struct {
	url    string
	http   *http.Client
	doc    *openapi3.T
	router routers.Router
}

// contract is openapi.yaml, read once: the tests only look at it.
var contract = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	doc.Servers = nil // any address
	return doc, nil
})

func newClient(t *testing.T, address string) *client {
	t.Helper()
	doc, err := contract()
	must(t, err)
	router, err := legacy.NewRouter(doc)
	must(t, err)
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{
		url: "http://" + address, doc: doc, router: router,
		http: &http.Client{Transport: transport, Timeout: 20 * time.Second},
	}
}

// reply is an answer that openapi.yaml agrees with.
type reply struct {
	status int
	header http.Header
	raw    []byte
	body   fields // nil where the answer is no JSON object
	closes bool   // the connection, after this answer
}

func (c *client) get(t *testing.T, path string) reply {
	t.Helper()
	return c.do(t, http.MethodGet, path, "", nil)
}

// post sends the body as JSON, with name and value of further headers.
func (c *client) post(t *testing.T, path string, body any, headers ...string) reply {
	t.Helper()
	raw, err := json.Marshal(body)
	must(t, err)
	return c.postRaw(t, path, string(raw), headers...)
}

func (c *client) postRaw(t *testing.T, path, body string, headers ...string) reply {
	t.Helper()
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return c.do(t, http.MethodPost, path, body, h)
}

func (c *client) do(t *testing.T, method, path, body string, header http.Header) reply {
	t.Helper()
	request := func() *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), method, c.url+path, strings.NewReader(body))
		must(t, err)
		if header != nil {
			r.Header = header.Clone()
		}
		if _, given := r.Header["Authorization"]; !given {
			harness.AsAdmin(r.Header) // which calls of buyers do not look at where identity is open
		}
		return r
	}
	r := c.send(t, request())
	c.check(t, request(), r)
	return r
}

// send makes an exchange without holding it against openapi.yaml.
func (c *client) send(t *testing.T, request *http.Request) reply {
	t.Helper()
	resp, err := c.http.Do(request)
	must(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(t, err)
	r := reply{status: resp.StatusCode, header: resp.Header, raw: raw, closes: resp.Close}
	if len(raw) > 0 && raw[0] == '{' {
		must(t, json.Unmarshal(raw, &r.body))
	}
	return r
}

// refusesForm are the codes of answers to requests that openapi.yaml need not
// allow. All other answers are to requests that it does allow.
var refusesForm = map[any]bool{
	"invalid_request": true, "not_found": true, "method_not_allowed": true, "body_too_large": true,
	"unsupported_media_type": true, "unauthenticated": true, "invalid_token": true, "forbidden": true, "drop_not_found": true, "user_not_found": true, "reservation_not_found": true,
	"delivery_not_found": true,
}

// check holds an exchange against openapi.yaml.
func (c *client) check(t *testing.T, request *http.Request, r reply) {
	t.Helper()
	code := r.body["code"]
	if request.Method == http.MethodHead || request.Method == http.MethodOptions {
		return // of the protocol, not of the contract
	}
	route, params, err := c.router.FindRoute(request)
	if err != nil || code == "not_found" || code == "method_not_allowed" {
		c.checkError(t, r)
		return
	}
	in := &openapi3filter.RequestValidationInput{
		Request: request, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}, // TestWhoMayDoWhat knows
	}
	if !refusesForm[code] {
		if err := openapi3filter.ValidateRequest(t.Context(), in); err != nil {
			t.Errorf("%s %s is answered %d, but openapi.yaml does not allow the request: %v", request.Method, request.URL, r.status, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: r.status, Header: r.header, Body: io.NopCloser(bytes.NewReader(r.raw)),
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true,
			ExcludeResponseBody:   strings.HasPrefix(r.header.Get("Content-Type"), "text/html"),
		},
	}
	if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
		t.Errorf("%s %s: the answer %d %s is not in openapi.yaml: %v", request.Method, request.URL, r.status, r.raw, err)
	}
}

// checkError holds an answer outside of all operations against the form of errors.
func (c *client) checkError(t *testing.T, r reply) {
	t.Helper()
	var body any
	if err := json.Unmarshal(r.raw, &body); err != nil {
		t.Errorf("answer %d %q: %v", r.status, r.raw, err)
		return
	}
	if err := c.doc.Components.Schemas["Error"].Value.VisitJSON(body); err != nil {
		t.Errorf("answer %d %s is no error as in openapi.yaml: %v", r.status, r.raw, err)
	}
}

// want fails unless the answer has this status.
func (r reply) want(t *testing.T, status int) reply {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.raw)
	}
	return r
}

// refused fails unless the answer is this error.
func (r reply) refused(t *testing.T, status int, code, message string) reply {
	t.Helper()
	if r.status != status || r.body["code"] != code || r.body["error"] != message {
		t.Errorf("answer %d %s, want %d %s %q", r.status, r.raw, status, code, message)
	}
	return r
}

// invalid fails unless the answer complains of the field.
func (r reply) invalid(t *testing.T, field string) reply {
	t.Helper()
	if r.status != 400 || r.body["code"] != "invalid_request" || r.body["field"] != field {
		t.Errorf("answer %d %s, want 400 invalid_request of field %q", r.status, r.raw, field)
	}
	return r
}

// int is an integer of the answer, which must be a JSON number.
func (r reply) int(t *testing.T, field string) int64 {
	t.Helper()
	n, ok := r.body[field].(float64)
	if !ok || n != float64(int64(n)) {
		t.Fatalf("%s is %v, want an integer: %s", field, r.body[field], r.raw)
	}
	return int64(n)
}

// has fails unless these are fields of the answer.
func (r reply) has(t *testing.T, want fields) reply {
	t.Helper()
	for name, value := range want {
		wanted, err := json.Marshal(value)
		must(t, err)
		got, err := json.Marshal(r.body[name])
		must(t, err)
		if !bytes.Equal(got, wanted) {
			t.Errorf("%s is %s, want %s: %s", name, got, wanted, r.raw)
		}
	}
	return r
}

func TestContractIsValid(t *testing.T) {
	raw, err := os.ReadFile("openapi.yaml")
	must(t, err)
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	must(t, err)
	must(t, doc.Validate(t.Context(), openapi3.EnableExamplesValidation()))
}
