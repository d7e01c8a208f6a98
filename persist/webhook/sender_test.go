package webhook_test

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/persist/webhook"
	"github.com/holdfast/holdfast/test/harness"
)

func TestMessages(t *testing.T) {
	t.Parallel()
	e, r := newEnv(t), newReceiver(t, nil).start()
	_, err := e.sql.Exec(t.Context(), `
		INSERT INTO webhook_outbox (id, type, drop_id, reservation_id, user_id, size, created_at, deadline, total_stock, occurred_at) VALUES
		('purchase_11', 'purchase.completed', 7, 11, 42, '43', NULL, NULL, NULL, '2026-11-23T18:00:20.731Z'),
		('purchase_12', 'purchase.completed', 7, 12, 42, '', NULL, NULL, NULL, '2026-11-23T18:00:20Z'),
		('expired_13', 'reservation.expired', 7, 13, 42, '', '2026-11-23T18:00:00Z', '2026-11-23T18:01:00Z', NULL, '2026-11-23T18:01:00.004Z'),
		('sold_out_7_100', 'drop.sold_out', 7, NULL, NULL, NULL, NULL, NULL, 100, '2026-11-23T18:02:00Z')`)
	must(t, err)
	_, err = e.sql.Exec(t.Context(), `INSERT INTO webhook_deliveries (event_id, url) SELECT id, $1 FROM webhook_outbox`, r.URL)
	must(t, err)
	reg := prometheus.NewRegistry()
	e.sender([]string{r.URL}, func(c *webhook.Config) {
		c.Metrics = reg
		c.Secrets = append([]string{"whsec_" + strings.Repeat("A", 32)}, c.Secrets...) // the receiver knows the older one
	})
	e.become(persist.DeliveryDone, 4, 30*time.Second)
	want := map[string]string{
		"purchase_11":    `{"type":"purchase.completed","timestamp":"2026-11-23T18:00:20.731Z","data":{"id":11,"UserId":42,"DropId":7,"size":"43","purchased_at":"2026-11-23T18:00:20.731Z"}}`,
		"purchase_12":    `{"type":"purchase.completed","timestamp":"2026-11-23T18:00:20.000Z","data":{"id":12,"UserId":42,"DropId":7,"size":null,"purchased_at":"2026-11-23T18:00:20.000Z"}}`,
		"expired_13":     `{"type":"reservation.expired","timestamp":"2026-11-23T18:01:00.004Z","data":{"id":13,"UserId":42,"DropId":7,"size":null,"created_at":"2026-11-23T18:00:00.000Z","expires_at":"2026-11-23T18:01:00.000Z","ended_at":"2026-11-23T18:01:00.004Z"}}`,
		"sold_out_7_100": `{"type":"drop.sold_out","timestamp":"2026-11-23T18:02:00.000Z","data":{"id":7,"total_stock":100}}`,
	}
	got := r.messages()
	for _, m := range got {
		if m.body != want[m.id] {
			t.Errorf("%s:\n%s, want\n%s", m.id, m.body, want[m.id])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d messages, want %d", len(got), len(want))
	}
	if n := metric(t, reg, "holdfast_webhook_attempts_total", "delivered"); n != 4 {
		t.Errorf("%v delivered in the metric", n)
	}
}

func TestReceiverAnswers500(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	r := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n < 3 {
			http.Error(w, "boom", http.StatusInternalServerError)
		}
	}).start()
	e.purchases(1, 50, r.URL)
	reg := prometheus.NewRegistry()
	e.sender([]string{r.URL}, func(c *webhook.Config) { c.Metrics = reg })
	e.become(persist.DeliveryDone, 50, 20*time.Second)
	bodies := map[string]string{}
	for _, m := range r.messages() {
		if bodies[m.id] == "" {
			bodies[m.id] = m.body
		}
		if bodies[m.id] != m.body {
			t.Errorf("%s came as\n%s and as\n%s", m.id, bodies[m.id], m.body)
		}
	}
	if each := r.each(); len(each) != 50 {
		t.Errorf("%d events came, want 50", len(each))
	} else {
		for id, n := range each {
			if n != 3 {
				t.Errorf("%s came %d times, want 3", id, n)
			}
		}
	}
	if n := e.count(`SELECT count(*) FROM webhook_deliveries WHERE attempts = 3 AND last_error IS NULL AND ended_at IS NOT NULL`); n != 50 {
		t.Errorf("%d deliveries of three attempts, want 50", n)
	}
	if n := metric(t, reg, "holdfast_webhook_attempts_total", "failed"); n != 100 {
		t.Errorf("%v failed in the metric, want 100", n)
	}
}

// The receiver has taken the event, and its answer does not arrive.
func TestAnswerIsLost(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	r := newReceiver(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			panic(http.ErrAbortHandler)
		}
	}).start()
	e.purchases(1, 20, r.URL)
	e.sender([]string{r.URL}, nil)
	e.become(persist.DeliveryDone, 20, 20*time.Second)
	for id, n := range r.each() {
		if n < 2 {
			t.Errorf("%s came %d times, want it again", id, n)
		}
	}
	if n := len(r.each()); n != 20 {
		t.Errorf("%d events came, want 20", n)
	}
}

// TestReceiverIsAwayForAMinute also looks at the memory that a backlog takes.
func TestReceiverIsAwayForAMinute(t *testing.T) {
	t.Parallel()
	const events = 5000
	e, r := newEnv(t), newReceiver(t, nil)
	address := r.Listener.Addr().String()
	must(t, r.Listener.Close())
	url := "http://" + address + "/"
	e.purchases(1, events, url)
	reg := prometheus.NewRegistry()
	began := time.Now()
	e.sender([]string{url}, func(c *webhook.Config) {
		c.Metrics, c.RetryFirst, c.RetryMost, c.Tries = reg, time.Second, 10*time.Second, 100
	})
	harness.Eventually(t, 90*time.Second, func() error {
		if away := time.Since(began); away < time.Minute {
			return fmt.Errorf("away for %v", away)
		}
		return nil
	})
	e.eventually("the backlog as a metric", func() bool { return metric(t, reg, "holdfast_webhook_backlog", "") == events })
	if age := metric(t, reg, "holdfast_webhook_oldest_seconds", ""); age < 59 || age > 300 {
		t.Errorf("the oldest is %v s old", age)
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	t.Logf("%d events wait; %d KiB of heap, %d goroutines in the tests' process", events, memory.HeapAlloc>>10, runtime.NumGoroutine())
	r.listenAt(address)
	e.become(persist.DeliveryDone, events, 90*time.Second)
	if n := len(r.each()); n != events {
		t.Errorf("%d events came, want %d", n, events)
	}
	if r.busiest > 16 {
		t.Errorf("%d requests at once, want at most 16", r.busiest)
	}
}

func TestSlowReceiverDoesNotStarveAnother(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	slow := newReceiver(t, func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }).start()
	quick := newReceiver(t, nil).start()
	e.purchases(1, 200, slow.URL, quick.URL)
	stop := e.sender([]string{slow.URL, quick.URL}, func(c *webhook.Config) { c.Timeout, c.Concurrency = 30*time.Second, 4 })
	e.become(persist.DeliveryDone, 200, 20*time.Second)
	if n := len(quick.each()); n != 200 {
		t.Errorf("%d events at the quick receiver, want 200", n)
	}
	e.eventually("the slow receiver to have all that it may", func() bool { return len(slow.each()) == 4 })
	// All the rest waits in Postgres, untouched.
	if n := e.count(`SELECT count(*) FROM webhook_deliveries WHERE url = $1 AND attempts = 0`, slow.URL); n != 196 {
		t.Errorf("%d deliveries are untouched, want 196", n)
	}
	began := time.Now()
	stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	if len(slow.messages()) != 4 || slow.busiest != 4 {
		t.Errorf("%d requests to the slow receiver, %d at once, want 4", len(slow.messages()), slow.busiest)
	}
	if n := e.count(`SELECT count(*) FROM webhook_deliveries WHERE state = 'waiting' AND attempts = 0 AND next_at <= now()`); n != 200 {
		t.Errorf("%d deliveries were given back, want all 200", n)
	}
}

func TestSlowReceiverHasItsTime(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	r := newReceiver(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			<-r.Context().Done()
		}
	}).start()
	e.purchases(1, 20, r.URL)
	e.sender([]string{r.URL}, func(c *webhook.Config) { c.Timeout = 300 * time.Millisecond })
	e.become(persist.DeliveryDone, 20, 30*time.Second)
	for id, n := range r.each() {
		if n < 2 {
			t.Errorf("%s came %d times, want it again", id, n)
		}
	}
}

func TestDeadAndResent(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	mended := make(chan struct{})
	r := newReceiver(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		select {
		case <-mended:
		default:
			w.WriteHeader(http.StatusBadRequest)
		}
	}).start()
	e.purchases(1, 5, r.URL)
	reg := prometheus.NewRegistry()
	e.sender([]string{r.URL}, func(c *webhook.Config) { c.Tries, c.Metrics = 3, reg })
	e.become(persist.DeliveryDead, 5, 30*time.Second)
	e.eventually("the dead as a metric", func() bool {
		return metric(t, reg, "holdfast_webhook_dead", "") == 5 && metric(t, reg, "holdfast_webhook_backlog", "") == 0
	})
	dead, err := e.store.DeadDeliveries(t.Context(), 2, 0)
	must(t, err)
	if len(dead) != 2 || dead[0].ID < dead[1].ID || dead[0].Attempts != 3 || dead[0].Error != "answered 400 Bad Request" || dead[0].Ended.IsZero() {
		t.Fatalf("dead: %+v", dead)
	}
	rest, err := e.store.DeadDeliveries(t.Context(), 10, dead[1].ID)
	must(t, err)
	if len(rest) != 3 {
		t.Errorf("%d more, want 3", len(rest))
	}
	close(mended)
	must(t, e.store.Resend(t.Context(), dead[0].ID))
	e.become(persist.DeliveryDone, 1, 30*time.Second)
	n, err := e.store.ResendDead(t.Context())
	must(t, err)
	if n != 4 {
		t.Errorf("%d resent, want 4", n)
	}
	e.become(persist.DeliveryDone, 5, 30*time.Second)
	for id, n := range r.each() {
		if n != 4 {
			t.Errorf("%s came %d times, want three in vain and one", id, n)
		}
	}
	must(t, e.store.Resend(t.Context(), dead[0].ID)) // what was delivered, too
	e.eventually("the delivery once more", func() bool { return r.each()[dead[0].Event.ID] == 5 })
	if err := e.store.Resend(t.Context(), 999_999); err == nil {
		t.Error("a delivery that there is not was resent")
	}
}

func TestAnswersThatAreNoSuccess(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	elsewhere := newReceiver(t, nil).start()
	answers := map[string]int{"/moved": 307, "/gone": 410, "/busy": 429, "/early": 302}
	r := newReceiver(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", elsewhere.URL)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(answers[r.URL.Path])
	}).start()
	urls := make([]string, 0, len(answers))
	for path := range answers {
		urls = append(urls, r.URL+path)
	}
	e.purchases(1, 1, urls...)
	e.sender(urls, nil)
	e.eventually("an attempt at each", func() bool {
		return e.count(`SELECT count(*) FROM webhook_deliveries WHERE last_error LIKE 'answered%'`) == 4
	})
	if n := e.count(`SELECT count(*) FROM webhook_deliveries WHERE state = 'waiting' AND next_at > now() + interval '50 seconds'`); n != 0 {
		t.Errorf("%d wait for longer than RetryMost", n)
	}
	if n := e.count(`SELECT count(*) FROM webhook_deliveries WHERE state = 'dead' AND url LIKE '%/gone' AND attempts = 1`); n != 1 {
		t.Error("410 did not end it")
	}
	if n := e.count(`SELECT count(*) FROM webhook_deliveries WHERE state = 'waiting'`); n != 3 {
		t.Errorf("%d wait, want 3", n)
	}
	if n := len(elsewhere.messages()); n != 0 {
		t.Errorf("%d messages went where a redirect led", n)
	}
}

func TestEndlessAnswer(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	r := newReceiver(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}).start()
	e.purchases(1, 5, r.URL)
	e.sender([]string{r.URL}, nil)
	e.become(persist.DeliveryDone, 5, 20*time.Second)
}

// A name is as good as the address behind it at the moment of connecting.
func TestAddressIsForbidden(t *testing.T) {
	t.Parallel()
	e, r := newEnv(t), newReceiver(t, nil).start()
	byName := strings.Replace(r.URL, "127.0.0.1", "localhost", 1)
	secure := strings.Replace(r.URL, "http:", "https:", 1)
	urls := []string{r.URL, byName, secure}
	e.purchases(1, 1, urls...)
	reg := prometheus.NewRegistry()
	e.sender(urls, func(c *webhook.Config) {
		c.Metrics, c.Allow = reg, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	e.eventually("the refusals", func() bool {
		return e.count(`SELECT count(*) FROM webhook_deliveries WHERE last_error LIKE '%not allowed%'`) == 3
	})
	if n := metric(t, reg, "holdfast_webhook_attempts_total", "forbidden"); n < 3 {
		t.Errorf("%v forbidden in the metric", n)
	}
	if n := len(r.messages()); n != 0 {
		t.Errorf("%d messages came", n)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	e, r := newEnv(t), newReceiver(t, nil)
	r.StartTLS()
	t.Cleanup(r.Close)
	e.purchases(1, 3, r.URL)
	stop := e.sender([]string{r.URL}, nil)
	e.eventually("its certificate to be refused", func() bool {
		return e.count(`SELECT count(*) FROM webhook_deliveries WHERE last_error LIKE '%certificate%'`) == 3
	})
	stop()
	e.sender([]string{r.URL}, func(c *webhook.Config) {
		c.Roots = x509.NewCertPool()
		c.Roots.AddCert(r.Certificate())
	})
	e.become(persist.DeliveryDone, 3, 30*time.Second)
}

func TestTwoSendersShareTheWork(t *testing.T) {
	t.Parallel()
	const events = 1000
	e, r := newEnv(t), newReceiver(t, nil).start()
	e.purchases(1, events, r.URL)
	regs := []*prometheus.Registry{prometheus.NewRegistry(), prometheus.NewRegistry()}
	for _, reg := range regs {
		e.sender([]string{r.URL}, func(c *webhook.Config) { c.Metrics, c.Lease = reg, time.Hour })
	}
	e.become(persist.DeliveryDone, events, 60*time.Second)
	for id, n := range r.each() {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
	for i, reg := range regs {
		if n := metric(t, reg, "holdfast_webhook_attempts_total", "delivered"); n < events/20 {
			t.Errorf("sender %d delivered %v of %d", i, n, events)
		}
	}
}

// A sender that dies keeps what it had claimed until its lease is over, and what
// it comes to say later does not count.
func TestSenderDies(t *testing.T) {
	t.Parallel()
	e, r := newEnv(t), newReceiver(t, nil).start()
	e.purchases(1, 10, r.URL)
	claimed, err := e.store.ClaimDeliveries(t.Context(), r.URL, 4, 2*time.Second)
	must(t, err)
	if len(claimed) != 4 || claimed[0].Attempts != 1 || claimed[0].Type != persist.EventPurchaseCompleted {
		t.Fatalf("claimed %+v", claimed)
	}
	others, err := e.store.ClaimDeliveries(t.Context(), r.URL, 100, time.Millisecond)
	must(t, err)
	if len(others) != 6 {
		t.Fatalf("%d others claimed, want 6", len(others))
	}
	began := time.Now()
	e.sender([]string{r.URL}, nil)
	e.become(persist.DeliveryDone, 10, 20*time.Second)
	if took := time.Since(began); took < time.Second {
		t.Errorf("all delivered after %v, want the lease to last", took)
	}
	must(t, e.store.SettleDeliveries(t.Context(), []persist.Attempt{{
		Delivery: claimed[0].ID, Number: claimed[0].Attempts, State: persist.DeliveryDead, Error: "late",
	}}))
	e.become(persist.DeliveryDone, 10, time.Second)
}

// What one attempt says does not undo what a later one has come to.
func TestLateResults(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.purchases(1, 1, "http://a/")
	claim := func() persist.Delivery {
		t.Helper()
		list, err := e.store.ClaimDeliveries(t.Context(), "http://a/", 1, 0)
		must(t, err)
		if len(list) != 1 {
			t.Fatalf("claimed %d", len(list))
		}
		return list[0]
	}
	first, second := claim(), claim()
	settle := func(d persist.Delivery, state persist.DeliveryState) {
		t.Helper()
		must(t, e.store.SettleDeliveries(t.Context(), []persist.Attempt{{Delivery: d.ID, Number: d.Attempts, State: state, Wait: time.Hour, Error: "no"}}))
	}
	settle(first, persist.DeliveryDead)
	e.become(persist.DeliveryWaiting, 1, time.Second)
	settle(second, persist.DeliveryDead)
	e.become(persist.DeliveryDead, 1, time.Second)
	settle(first, persist.DeliveryDone) // it did arrive
	e.become(persist.DeliveryDone, 1, time.Second)
}

func TestPostgresIsAway(t *testing.T) {
	t.Parallel()
	e, r := newEnv(t), newReceiver(t, nil).start()
	proxy := harness.NewProxy(t, e.url)
	store, err := persist.Open(persist.Config{URL: proxy.URL(), Timeout: time.Second})
	must(t, err)
	t.Cleanup(store.Close)
	proxy.Cut()
	e.purchases(1, 100, r.URL)
	e.sender([]string{r.URL}, func(c *webhook.Config) { c.Store = store })
	proxy.Restore()
	e.become(persist.DeliveryDone, 100, 30*time.Second)
}

func TestTidying(t *testing.T) {
	t.Parallel()
	e, r := newEnv(t), newReceiver(t, nil).start()
	const gone = "https://gone.example/"
	e.purchases(1, 30, r.URL)
	e.purchases(31, 40, gone)
	e.purchases(41, 45, r.URL, gone)
	e.sender([]string{r.URL}, func(c *webhook.Config) {
		c.Tidy, c.KeepDelivered, c.Abandon = 20*time.Millisecond, time.Millisecond, time.Second
	})
	e.become(persist.DeliveryDead, 15, 20*time.Second)
	e.eventually("events that were delivered to be forgotten", func() bool {
		return e.count(`SELECT count(*) FROM webhook_outbox`) == 15
	})
	if n := e.count(`SELECT count(*) FROM webhook_deliveries WHERE state = 'dead' AND last_error LIKE '%not configured%'`); n != 15 {
		t.Errorf("%d were given up with a reason", n)
	}
	n, err := e.store.ForgetEvents(t.Context(), 0, 0)
	must(t, err)
	if n != 15 || e.count(`SELECT count(*) FROM webhook_deliveries`) != 0 {
		t.Errorf("%d forgotten, want 15", n)
	}
}

func TestSenderNeedsItsParts(t *testing.T) {
	t.Parallel()
	r, err := webhook.ParseReceiver("http://127.0.0.1/")
	must(t, err)
	whole := webhook.Config{Store: &persist.Store{}, Receivers: []webhook.Receiver{r}, Secrets: []string{secret}}
	for name, change := range map[string]func(*webhook.Config){
		"no store":     func(c *webhook.Config) { c.Store = nil },
		"no receivers": func(c *webhook.Config) { c.Receivers = nil },
		"no secret":    func(c *webhook.Config) { c.Secrets = nil },
		"bad secret":   func(c *webhook.Config) { c.Secrets = []string{"secret"} },
		"http":         func(*webhook.Config) {},
	} {
		cfg := whole
		change(&cfg)
		if _, err := webhook.New(cfg); err == nil {
			t.Errorf("%s: a sender was made", name)
		}
	}
}
