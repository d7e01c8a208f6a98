package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/holdfast/holdfast/test/harness"
)

// fresh calls over a new connection each time, as a balancer's probe does.
func fresh(t testing.TB, url string) (status int, body string, err error) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	var text strings.Builder
	if err := res.Write(&text); err != nil {
		return 0, "", err
	}
	return res.StatusCode, text.String(), nil
}

// unready waits until /readyz answers 503 over a connection of its own.
func unready(t testing.TB, p *harness.Process) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, func() error {
		status, body, err := fresh(t, p.URL+"/readyz")
		if err != nil {
			t.Fatalf("the listener closed before /readyz said 503: %v", err)
		}
		if status == http.StatusServiceUnavailable && strings.Contains(body, `"stopping"`) {
			return nil
		}
		return fmt.Errorf("/readyz says %s", body)
	})
}

// TestStopInOrder has an instance end in the middle of a storm of buyers, watched
// over sockets.
func TestStopInOrder(t *testing.T) {
	t.Parallel()
	const stock, buyers, watchers, grace = 100_000, 40, 20, 1500 * time.Millisecond
	d := newDeployment(t)
	p := d.serve(t, "--stop-grace", grace.String())
	s := newShop(t, p)
	people := d.people(t, buyers)
	s.known(people)
	id := s.open(stock, nil)

	// What is closed, and how; and whether somebody still listened then.
	type end struct {
		code     int
		listened bool
	}
	ends := make(chan end, watchers)
	for range watchers {
		conn, res, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(p.URL, "http")+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		t.Cleanup(func() { _ = conn.Close() })
		go func() {
			for {
				_, _, err := conn.ReadMessage()
				if err == nil {
					continue
				}
				e := end{code: -1}
				if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
					e.code = closed.Code
				}
				if c, err := net.DialTimeout("tcp", strings.TrimPrefix(p.URL, "http://"), time.Second); err == nil {
					_ = c.Close()
					e.listened = true
				}
				ends <- e
				return
			}
		}()
	}

	var mu sync.Mutex
	held, bought := map[int64]bool{}, map[int64]bool{}
	var left atomic.Bool // it has said that it leaves
	var afterwards atomic.Int64
	warm := make(chan struct{})
	var storm sync.WaitGroup
	for i := range buyers {
		storm.Go(func() {
			for {
				r, a := s.reserve(object{"dropId": id, "userId": people[i]})
				if a.err != nil {
					return // no answer: it is gone
				}
				if a.status != http.StatusCreated {
					t.Errorf("reserve: %v", a)
					return
				}
				mu.Lock()
				if held[r.ID] = true; len(held) == 300 {
					close(warm)
				}
				mu.Unlock()
				if left.Load() {
					afterwards.Add(1)
				}
				if _, a = s.purchase(r.ID); a.err != nil {
					return
				}
				if a.status != http.StatusCreated {
					t.Errorf("purchase: %v", a)
					return
				}
				mu.Lock()
				bought[r.ID] = true
				mu.Unlock()
			}
		})
	}
	<-warm
	from := time.Now()
	p.Signal(syscall.SIGTERM)
	unready(t, p)
	left.Store(true)
	status := p.Wait(20 * time.Second)
	took := time.Since(from)
	storm.Wait()
	t.Logf("%d held, %d bought, %d of them after /readyz said no; ended within %v", len(held), len(bought), afterwards.Load(), took)
	if status != 0 || took < grace || took > grace+7*time.Second {
		t.Errorf("ended with %d after %v", status, took)
	}
	if afterwards.Load() == 0 {
		t.Error("nothing was sold during the grace")
	}
	for range watchers {
		if e := <-ends; e.code != websocket.CloseGoingAway || e.listened {
			t.Errorf("a socket ended with %d, listener open: %v", e.code, e.listened)
		}
	}

	next := newShop(t, d.serve(t))
	d.drained(t, 30*time.Second)
	purchases := d.ids(t, "SELECT id FROM purchases")
	for id := range bought {
		if !purchases[id] {
			t.Errorf("purchase %d was acknowledged and is not in Postgres", id)
		}
	}
	for id := range held {
		if r, a := next.reservation(id); a.status != http.StatusOK || r.Status != "active" && r.Status != "completed" {
			t.Errorf("reservation %d was acknowledged and is %v", id, a)
		}
	}
	d.balanced(t)
}

// TestStopWritesWhatWasSold has more in the ledger than the batch in hand.
func TestStopWritesWhatWasSold(t *testing.T) {
	t.Parallel()
	const n = 5
	d := newDeployment(t)
	p := d.serve(t)
	s := newShop(t, p)
	people := d.people(t, n)
	id := s.open(n, nil)
	held := s.hold(id, people)

	lock, err := d.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := lock.Exec(t.Context(), "LOCK TABLE purchases IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	s.mustBuy(held[0].ID)
	harness.Eventually(t, 20*time.Second, func() error { // the writer has that one in hand
		var waits int
		err := d.db.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'purchases'::regclass").Scan(&waits)
		if err == nil && waits == 0 {
			err = errors.New("nobody waits for the lock")
		}
		return err
	})
	for _, r := range held[1:] {
		s.mustBuy(r.ID)
	}
	p.Signal(syscall.SIGTERM)
	harness.Eventually(t, 10*time.Second, func() error { // all but the writer has ended
		if !strings.Contains(p.Log(), "bringing to Postgres what is in the ledger") {
			return errors.New("it has not come to the ledger yet")
		}
		return nil
	})
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := p.Wait(20 * time.Second); status != 0 {
		t.Errorf("ended with %d", status)
	}
	if left, err := d.waiting(t.Context()); err != nil || left != 0 {
		t.Errorf("%d ledger entries left, %v", left, err)
	}
	d.want(t, n, "SELECT count(*) FROM purchases")
}

// TestSecondSignalEndsAtOnce, whatever the first one waits for.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	p := newDeployment(t).serve(t, "--stop-grace", "4m")
	p.Signal(syscall.SIGTERM)
	unready(t, p)
	p.Signal(syscall.SIGTERM)
	if status := p.Wait(10 * time.Second); status != -1 {
		t.Errorf("ended with %d, want by the signal", status)
	}
}
