package integration

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

var serverPID = regexp.MustCompile(`\(pid (\d+)\)`)

// dev is one dev process on the data folder, ready.
func dev(t testing.TB, data string) *harness.Process {
	t.Helper()
	port := harness.FreePort(t)
	// It is told nothing of who is who.
	p := command(t, []string{"HOLDFAST_IDENTITY=", "HOLDFAST_ADMIN_TOKEN="}, "dev", "--data", data, "--port", port)
	p.URL = "http://127.0.0.1:" + port
	p.Start()
	p.Ready()
	harness.Eventually(t, 5*time.Second, func() error {
		if !strings.Contains(p.Log(), "Ctrl-C") {
			return fmt.Errorf("it has not said how to use it")
		}
		return nil
	})
	return p
}

// servers are the process ids of the Redis and Postgres that dev started.
func servers(t testing.TB, p *harness.Process) (pids []int) {
	t.Helper()
	for _, m := range serverPID.FindAllStringSubmatch(p.Log(), -1) {
		pid, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) != 2 {
		t.Fatalf("dev names %v, want two servers", pids)
	}
	return pids
}

var consoleLink = regexp.MustCompile(`/console#token=(\S+)`)

// consoleToken is the admin token in the link that dev prints; it is kept where
// its owner alone may read it, and lets in.
func consoleToken(t *testing.T, p *harness.Process, data string) string {
	t.Helper()
	links := consoleLink.FindStringSubmatch(p.Log())
	if links == nil {
		t.Fatalf("no link to the console in:\n%s", p.Log())
	}
	file := filepath.Join(data, "admin-token")
	kept, err := os.ReadFile(file)
	if err != nil || strings.TrimSpace(string(kept)) != links[1] {
		t.Errorf("the file has %q, %v, the link %q", kept, err, links[1])
	}
	if is, err := os.Stat(file); err != nil || is.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", is, err)
	}
	s := newShop(t, p)
	if a := s.call("GET", "/api/admin/figures?drop=1", nil, nil, "Authorization", "Bearer "+links[1]); a.status != 200 {
		t.Errorf("figures with the link's token: %v", a)
	}
	if a := s.call("GET", "/api/admin/figures?drop=1", nil, nil); a.code != "invalid_token" {
		t.Errorf("figures with another token: %v", a)
	}
	return links[1]
}

func TestDev(t *testing.T) {
	t.Parallel()
	data, err := os.MkdirTemp("", "holdfast-dev-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	if err := os.Chmod(data, 0o711); err != nil { // so that the user postgres can pass, where that is another
		t.Fatal(err)
	}

	// The first start, and all that the printed lines invite to.
	p := dev(t, data)
	contains(t, p.Log(), "Sample drop 1", "Sample drop 2", "Sample drop 3", p.URL,
		"curl -s "+p.URL+"/api/drops/create", "curl -s "+p.URL+"/api/drops/reserve", "curl -s "+p.URL+"/api/drops/purchase")
	s := newShop(t, p)
	token := consoleToken(t, p, data)
	var drops []drop
	if a := s.call("GET", "/api/drops", nil, &drops); a.err != nil || len(drops) != 3 || len(drops[1].Sizes) != 4 {
		t.Fatalf("drops: %v", a)
	}
	if _, a := s.reserve(object{"dropId": drops[0].ID, "userName": "ada"}); a.code != "not_started" {
		t.Errorf("the third sample drop: %v", a)
	}
	ada := object{"dropId": 1, "userName": "ada", "email": "ada@example.com"}
	bought := s.mustReserve(ada)
	was := s.mustBuy(bought.ID)
	long := s.open(1, object{"name": "Air Walker", "hold_seconds": 600})
	live := s.mustReserve(object{"dropId": long, "userName": "ada", "email": "ada@example.com"})
	if _, a := s.reserve(object{"dropId": long, "userName": "bob"}); a.code != "out_of_stock" {
		t.Errorf("the last unit is held, and bob gets %v", a)
	}
	id := s.open(1, object{"name": "Air Runner", "hold_seconds": 1})
	lapses := s.mustReserve(object{"dropId": id, "userName": "ada", "email": "ada@example.com"})
	harness.Eventually(t, 5*time.Second, func() error { return s.stockIs(id, 1, 0, 0) })
	if _, a := s.purchase(lapses.ID); a.status != http.StatusGone {
		t.Errorf("purchase of a lapsed hold: %v", a)
	}

	// A second one on the same data.
	printed, status := run(t, nil, "dev", "--data", data, "--port", harness.FreePort(t))
	if status != 1 {
		t.Errorf("a second dev ended with %d", status)
	}
	contains(t, printed, "in use", fmt.Sprintf("process %d", p.PID()))

	// Ctrl-C, while a connection idles.
	idle, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = idle.Close() }()
	if _, err := fmt.Fprintf(idle, "GET /healthz HTTP/1.1\r\nHost: holdfast\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if n, err := idle.Read(make([]byte, 1000)); err != nil || n == 0 {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	pids := servers(t, p)
	p.Signal(syscall.SIGINT)
	if status := p.Wait(15 * time.Second); status != 0 {
		t.Errorf("dev ended with %d", status)
	}
	gone(t, pids)

	// A taken port, then a restart, which finds everything.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	printed, status = run(t, nil, "dev", "--data", data, "--port", port)
	if status != 1 {
		t.Errorf("dev on a taken port ended with %d", status)
	}
	contains(t, printed, port, "in use", "--port")

	p = dev(t, data)
	if again := consoleToken(t, p, data); again != token {
		t.Error("the restart has another admin token")
	}
	s.urls = []string{p.URL}
	if strings.Contains(p.Log(), "Sample drop") {
		t.Error("the restart seeds again")
	}
	found := func() {
		t.Helper()
		if a := s.call("GET", "/api/drops", nil, &drops); a.err != nil || len(drops) != 5 || drops[0].ID != id {
			t.Fatalf("drops after a restart: %v", a)
		}
		if now, a := s.purchase(bought.ID); a.status != http.StatusOK || !sameReceipt(now, was) {
			t.Errorf("the receipt was %+v, is %v", was, a)
		}
		if r, a := s.reservation(bought.ID); r.Status != "completed" || r.Persisted != "confirmed" {
			t.Errorf("purchase: %v", a)
		}
		if d := s.drop(1); d.Sold == 0 || len(d.Purchases) == 0 || d.Purchases[0].User.Username != "ada" {
			t.Errorf("drop: %+v", d)
		}
	}
	found()
	if r, a := s.reservation(live.ID); r.Status != "active" || !r.ExpiresAt.Equal(live.ExpiresAt) {
		t.Errorf("the live hold is %v", a)
	}

	// kill -9, in the moment after a purchase.
	last := s.mustBuy(live.ID)
	pids = servers(t, p)
	p.Kill()
	p = dev(t, data)
	s.urls = []string{p.URL}
	found()
	if now, a := s.purchase(live.ID); a.status != http.StatusOK || !sameReceipt(now, last) {
		t.Errorf("the receipt was %+v, is %v", last, a)
	}
	gone(t, pids)
	pids = servers(t, p)
	if status := p.Terminate(); status != 0 {
		t.Errorf("dev ended with %d", status)
	}
	gone(t, pids)
}

// gone waits until none of the processes is left.
func gone(t testing.TB, pids []int) {
	t.Helper()
	harness.Eventually(t, 5*time.Second, func() error {
		for _, pid := range pids {
			if harness.Alive(pid) {
				return fmt.Errorf("process %d is still there", pid)
			}
		}
		return nil
	})
}
