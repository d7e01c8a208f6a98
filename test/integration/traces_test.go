package integration

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast/holdfast/test/harness"
)

// receiver takes what an instance sends as a collector would.
type receiver struct {
	url string

	mu    sync.Mutex
	spans []*otlp.Span
}

func newReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var sent collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &sent)
		}
		if err != nil || req.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", req.URL.Path, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, of := range sent.ResourceSpans {
			for _, scope := range of.ScopeSpans {
				r.spans = append(r.spans, scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func (r *receiver) all() []*otlp.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.spans)
}

// find gives the first span below parent, or of any place where parent is nil,
// with that name and within the trace.
func find(spans []*otlp.Span, trace []byte, parent *otlp.Span, name string) *otlp.Span {
	for _, s := range spans {
		if string(s.TraceId) == string(trace) && strings.Contains(s.Name, name) && (parent == nil || string(s.ParentSpanId) == string(parent.SpanId)) {
			return s
		}
	}
	return nil
}

func attribute(s *otlp.Span, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			if text := a.Value.GetStringValue(); text != "" {
				return text
			}
			return strconv.FormatInt(a.Value.GetIntValue(), 10)
		}
	}
	return ""
}

// bought waits until n purchases are in Postgres.
func (d *deployment) bought(t testing.TB, n int64) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, func() error {
		if got := d.count(t, "SELECT count(*) FROM purchases"); got != n {
			return fmt.Errorf("%d purchases, want %d", got, n)
		}
		return nil
	})
}

// TestATraceOfOnePurchase has one trace show the request, the script and the
// batch insert, by one instance that sells and another that writes.
func TestATraceOfOnePurchase(t *testing.T) {
	t.Parallel()
	d, r := newDeployment(t), newReceiver(t)
	flags := []string{"--otlp-endpoint", r.url, "--trace-ratio", "1"}
	seller := d.serve(t, append(flags, "--roles", "api")...)
	writer := d.serve(t, append(flags, "--roles", "writer,expirer")...)
	s, people := newShop(t, seller), d.people(t, 1)
	id := s.mustReserve(object{"dropId": s.open(1, nil), "userId": people[0]}).ID
	const theirs = "4bf92f3577b34da6a3ce929d0e0e4736"
	if a := s.call("POST", "/api/drops/purchase", object{"reservationId": id}, nil,
		"traceparent", "00-"+theirs+"-00f067aa0ba902b7-01", "X-Request-Id", "of-the-purchase"); a.status != http.StatusCreated {
		t.Fatal(a)
	}
	d.bought(t, 1)
	if status := seller.Terminate(); status != 0 {
		t.Errorf("the seller ended with %d", status)
	}
	if status := writer.Terminate(); status != 0 {
		t.Errorf("the writer ended with %d", status)
	}

	var request *otlp.Span
	var spans []*otlp.Span
	harness.Eventually(t, 20*time.Second, func() error {
		spans = r.all()
		i := slices.IndexFunc(spans, func(s *otlp.Span) bool { return s.Name == "POST /api/drops/purchase" })
		if i < 0 {
			return fmt.Errorf("no span of the request among %d", len(spans))
		}
		request = spans[i]
		return nil
	})
	if attribute(request, "holdfast.reservation") != strconv.FormatInt(id, 10) || attribute(request, "http.response.status_code") != "201" ||
		attribute(request, "holdfast.request_id") != "of-the-purchase" {
		t.Errorf("the request: %v", request)
	}
	if len(request.ParentSpanId) != 0 || hex.EncodeToString(request.TraceId) == theirs ||
		len(request.Links) != 1 || hex.EncodeToString(request.Links[0].TraceId) != theirs {
		t.Errorf("the caller's trace is not linked alone: %v", request)
	}
	batch := find(spans, request.TraceId, request, "purchase batch")
	if batch == nil {
		t.Fatalf("no batch below the request: %v", spans)
	}
	if find(spans, request.TraceId, batch, "evalsha") == nil {
		t.Errorf("no script below its batch: %v", spans)
	}
	ledger := find(spans, request.TraceId, nil, "ledger batch")
	if ledger == nil {
		t.Fatalf("no insert in the purchase's trace: %v", spans)
	}
	batch = find(spans, request.TraceId, ledger, "batch")
	if batch == nil {
		t.Fatalf("no statements below the ledger's batch: %v", spans)
	}
	insert := slices.ContainsFunc(spans, func(s *otlp.Span) bool {
		return string(s.ParentSpanId) == string(batch.SpanId) && strings.Contains(attribute(s, "db.query.text"), "INSERT INTO purchases")
	})
	if !insert {
		t.Errorf("no insert among them: %v", spans)
	}
	for _, s := range spans {
		if strings.Contains(fmt.Sprint(s), "buyer1@example.com") || strings.Contains(fmt.Sprint(s), d.databaseURL) {
			t.Errorf("a span tells too much: %v", s)
		}
		if len(s.ParentSpanId) == 0 && s.Kind == otlp.Span_SPAN_KIND_CLIENT {
			t.Errorf("a call that no request made begins a trace: %v", s)
		}
	}
}

// TestTracesAreSampled has a part of the requests traced, and the same purchases
// by whoever sells and whoever writes.
func TestTracesAreSampled(t *testing.T) {
	t.Parallel()
	d, r := newDeployment(t), newReceiver(t)
	p := d.serve(t, "--otlp-endpoint", r.url, "--trace-ratio", "0.2")
	s, people := newShop(t, p), d.people(t, 1)
	drop := s.open(100, nil)
	for range 100 {
		s.mustBuy(s.mustReserve(object{"dropId": drop, "userId": people[0]}).ID)
	}
	d.bought(t, 100)
	if status := p.Terminate(); status != 0 {
		t.Errorf("ended with %d", status)
	}
	bought, written := map[string]bool{}, map[string]bool{}
	for _, s := range r.all() {
		switch s.Name {
		case "POST /api/drops/purchase":
			bought[string(s.TraceId)] = true
		case "ledger batch":
			written[string(s.TraceId)] = true
		}
	}
	// 20 of 100 on average; the ids are those of the reservations, always the same.
	if len(bought) < 5 || len(bought) > 45 || len(written) != len(bought) {
		t.Errorf("%d purchases of 100 are traced, %d in the ledger", len(bought), len(written))
	}
	for id := range bought {
		if !written[id] {
			t.Errorf("a purchase that is traced is not in the ledger's traces")
		}
	}
}
