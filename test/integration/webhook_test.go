package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/holdfast/holdfast/test/harness"
)

const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"

// hookListener receives webhooks and checks their signatures with the library's
// verifier.
type hookListener struct {
	*httptest.Server
	answer func(r *http.Request) int // status; nil: 200

	mu     sync.Mutex
	events map[string]string // type by id, of those that were answered 200
}

func newHookListener(t *testing.T, answer func(*http.Request) int) *hookListener {
	t.Helper()
	l := &hookListener{answer: answer, events: map[string]string{}}
	verifier, err := standardwebhooks.NewWebhook(webhookSecret)
	if err != nil {
		t.Fatal(err)
	}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender was killed
		}
		var message struct{ Type string }
		if err := json.Unmarshal(body, &message); err != nil {
			t.Errorf("%q: %v", body, err)
		}
		if err := verifier.Verify(body, r.Header); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		status := http.StatusOK
		if l.answer != nil {
			status = l.answer(r)
		}
		if status == http.StatusOK {
			l.mu.Lock()
			l.events[r.Header.Get("webhook-id")] = message.Type
			l.mu.Unlock()
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(func() { l.CloseClientConnections(); l.Close() })
	return l
}

func (l *hookListener) got() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.events)
}

// hear waits until the listener has heard exactly of these.
func (l *hookListener) hear(t *testing.T, want map[string]string) {
	t.Helper()
	harness.Eventually(t, 60*time.Second, func() error {
		if got := l.got(); !maps.Equal(got, want) {
			return fmt.Errorf("heard of %d events: %v, want %d: %v", len(got), got, len(want), want)
		}
		return nil
	})
}

// hooked is the deployment with webhooks for the listeners: text is
// HOLDFAST_WEBHOOKS.
func (d *deployment) hooked(t *testing.T, text string, args ...string) *harness.Process {
	t.Helper()
	return d.serve(t, append([]string{
		"--webhooks", text, "--webhook-secret", webhookSecret, "--webhook-allow", "127.0.0.0/8", "--webhook-timeout", "1s", "--takeover", "2s",
	}, args...)...)
}

// TestWebhooks has one writer killed while it sends, and another take over.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	var hangs atomic.Bool
	hangs.Store(true)
	held := make(chan struct{}, 100)
	all := newHookListener(t, func(r *http.Request) int {
		if hangs.Load() {
			held <- struct{}{}
			<-r.Context().Done()
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	sales := newHookListener(t, nil)
	hooks := all.URL + "/hook?of=all," + sales.URL + "#drop.sold_out"
	first := d.hooked(t, hooks)
	s := newShop(t, first)
	people := d.people(t, 20)
	id, short := s.open(20, nil), s.open(20, object{"hold_seconds": 0.3})
	want := map[string]string{fmt.Sprintf("sold_out_%d_20_0", id): "drop.sold_out"}
	lapse := func(from, to int) {
		for _, r := range s.hold(short, people[from:to]) {
			want[fmt.Sprintf("expired_%d", r.ID)] = "reservation.expired"
		}
	}
	lapse(0, 10)
	held1 := s.hold(id, people)
	for _, r := range held1[:10] {
		s.mustBuy(r.ID)
		want[fmt.Sprintf("purchase_%d", r.ID)] = "purchase.completed"
	}
	select {
	case <-held:
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came")
	}
	first.Kill()
	hangs.Store(false)

	s = newShop(t, d.hooked(t, hooks), d.hooked(t, hooks))
	lapse(10, 20)
	for _, r := range held1[10:] {
		s.mustBuy(r.ID)
		want[fmt.Sprintf("purchase_%d", r.ID)] = "purchase.completed"
	}
	all.hear(t, want)
	sales.hear(t, map[string]string{fmt.Sprintf("sold_out_%d_20_0", id): "drop.sold_out"})
	d.balanced(t)
	d.want(t, len(want), `SELECT count(*) FROM webhook_outbox`)
}

// TestOperatorResendsWebhooks has a receiver that was gone and is back.
func TestOperatorResendsWebhooks(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	var back atomic.Bool
	l := newHookListener(t, func(*http.Request) int {
		if back.Load() {
			return http.StatusOK
		}
		return http.StatusGone
	})
	p := d.hooked(t, l.URL+"/#purchase.completed")
	s := newShop(t, p)
	person := d.people(t, 1)[0]
	id := s.open(5, nil)
	want := map[string]string{}
	for range 3 {
		r := s.mustReserve(object{"dropId": id, "userId": person})
		s.mustBuy(r.ID)
		want[fmt.Sprintf("purchase_%d", r.ID)] = "purchase.completed"
	}
	var report struct {
		Receivers []struct {
			URL           string
			Waiting, Dead int
		}
		Dead []struct {
			ID           int64
			Event, Error string
		}
	}
	harness.Eventually(t, 30*time.Second, func() error {
		printed, status := d.run(t, "webhooks", "--json")
		if err := json.Unmarshal([]byte(printed), &report); err != nil || status != 0 {
			return fmt.Errorf("webhooks ended with %d, %w:\n%s", status, err, printed)
		}
		if len(report.Dead) != 3 || len(report.Receivers) != 1 || report.Receivers[0].Dead != 3 || report.Receivers[0].URL != l.URL+"/" {
			return fmt.Errorf("%+v", report)
		}
		return nil
	})
	printed, status := d.run(t, "webhooks")
	if status != 0 {
		t.Errorf("webhooks ended with %d", status)
	}
	contains(t, printed, "RECEIVER", "answered 410 Gone", report.Dead[0].Event)
	contains(t, p.Log(), "webhooks are sent", "an event was given up")
	if log := p.Log(); strings.Contains(log, webhookSecret) {
		t.Error("the log has the secret")
	}

	back.Store(true)
	if printed, status := d.run(t, "webhooks", "--resend", id10(report.Dead[0].ID)); status != 0 {
		t.Errorf("resend ended with %d:\n%s", status, printed)
	}
	l.hear(t, map[string]string{report.Dead[0].Event: "purchase.completed"})
	if printed, status := d.run(t, "webhooks", "--resend", "999"); status != 1 {
		t.Errorf("resend of nothing ended with %d:\n%s", status, printed)
	}
	printed, status = d.run(t, "webhooks", "--resend-dead")
	if status != 0 {
		t.Errorf("resend ended with %d", status)
	}
	contains(t, printed, "2 deliveries are sent once more")
	l.hear(t, want)
	if status := p.Terminate(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}

func TestWebhookSettings(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	const secret = "whsec_c2hvcnQ="
	for _, row := range []struct {
		env  []string
		says string
	}{
		{[]string{"HOLDFAST_WEBHOOKS=https://a.example/"}, "HOLDFAST_WEBHOOK_SECRET (--webhook-secret) is not set"},
		{[]string{"HOLDFAST_WEBHOOKS=https://a.example/", "HOLDFAST_WEBHOOK_SECRET=" + secret}, "24 to 64 bytes"},
		{[]string{"HOLDFAST_WEBHOOKS=http://a.example/", "HOLDFAST_WEBHOOK_SECRET=" + webhookSecret}, "use https://"},
		{[]string{"HOLDFAST_WEBHOOKS=https://a.example/#drop.opened", "HOLDFAST_WEBHOOK_SECRET=" + webhookSecret}, "is none of purchase.completed"},
		{[]string{"HOLDFAST_WEBHOOKS=https://a.example/,https://a.example/", "HOLDFAST_WEBHOOK_SECRET=" + webhookSecret}, "named twice"},
		{[]string{"HOLDFAST_WEBHOOKS=https://a.example/", "HOLDFAST_WEBHOOK_SECRET=" + webhookSecret, "HOLDFAST_WEBHOOK_ALLOW=10.0.0.1"}, "HOLDFAST_WEBHOOK_ALLOW (--webhook-allow)"},
		{[]string{"HOLDFAST_WEBHOOKS=https://a.example/", "HOLDFAST_WEBHOOK_SECRET=" + webhookSecret, "HOLDFAST_WEBHOOK_TIMEOUT=1h"}, "HOLDFAST_WEBHOOK_TIMEOUT (--webhook-timeout)"},
	} {
		printed, status := run(t, append(d.env(), row.env...), "serve", "--port", harness.FreePort(t))
		if status != 1 {
			t.Errorf("%v: serve ended with %d", row.env, status)
		}
		contains(t, printed, row.says)
		if strings.Contains(printed, secret) || strings.Contains(printed, webhookSecret) {
			t.Errorf("the secret is told:\n%s", printed)
		}
	}
}
