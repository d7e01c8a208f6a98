package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// socketIO is the folder of the client, which npm fills.
const socketIO = "../socketio"

// socketIOClient has npm bring socket.io-client as the lock file has it, unless
// it is there.
var socketIOClient = sync.OnceValue(func() error {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: install Node.js 18 or newer, and npm (make test does where it can)", err)
		}
	}
	wanted, err := os.Stat(filepath.Join(socketIO, "package-lock.json"))
	if err != nil {
		return err
	}
	if have, err := os.Stat(filepath.Join(socketIO, "node_modules", ".package-lock.json")); err == nil && !have.ModTime().Before(wanted.ModTime()) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund")
	npm.Dir = socketIO
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
})

// happening is a line of client.js.
type happening struct {
	Type      string
	Transport string         // of connect and upgrade
	Name      string         // of an event
	Payload   map[string]any // of an event
	Reason    string         // of disconnect
}

// listener is one socket.io-client, a process.
type listener struct {
	t testing.TB

	mu       sync.Mutex
	happened []happening
	read     int // how many of them await has gone past
	log      harness.Output
}

func listenTo(t testing.TB, url, transports string) *listener {
	t.Helper()
	if err := socketIOClient(); err != nil {
		t.Fatal(err)
	}
	l := &listener{t: t}
	cmd := exec.Command("node", "client.js", url, transports)
	cmd.Dir, cmd.Stderr = socketIO, &l.log
	stdin, err := cmd.StdinPipe() // whose end is the client's
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			l.take(lines.Bytes())
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("the client does not end")
			_ = cmd.Process.Kill()
			<-done
		}
		if err := cmd.Wait(); err != nil || l.log.String() != "" {
			t.Errorf("the client ended with %v:\n%s", err, l.log.String())
		}
		if t.Failed() {
			t.Logf("the client was told %+v", l.happened)
		}
	})
	return l
}

// take holds events against the form that they must have.
func (l *listener) take(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var h happening
	if err := json.Unmarshal(line, &h); err != nil {
		l.t.Errorf("%q: %v", line, err)
		return
	}
	l.happened = append(l.happened, h)
	if h.Type != "event" {
		return
	}
	form := map[string]map[string]bool{ // the fields, and whether they must be there
		"stock_update":      {"dropId": true, "available_stock": true, "reason": false},
		"purchase_complete": {"dropId": true, "userId": true, "purchaseId": true},
	}[h.Name]
	for field, value := range h.Payload {
		_, number := value.(float64)
		if _, known := form[field]; !known || number == (field == "reason") {
			l.t.Errorf("event %s", line)
		}
	}
	for field, must := range form {
		if _, there := h.Payload[field]; must && !there {
			l.t.Errorf("event %s", line)
		}
	}
}

// await waits for a happening later than those it has waited for.
func (l *listener) await(what string, is func(happening) bool) (found happening) {
	l.t.Helper()
	harness.Eventually(l.t, 20*time.Second, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for i, h := range l.happened[l.read:] {
			if is(h) {
				l.read, found = l.read+i+1, h
				return nil
			}
		}
		return fmt.Errorf("no %s in %+v", what, l.happened[l.read:])
	})
	return found
}

// event waits for an event with exactly this payload.
func (l *listener) event(name string, payload object) {
	l.t.Helper()
	raw, err := json.Marshal(payload)
	if err != nil {
		l.t.Fatal(err)
	}
	var want map[string]any
	if err := json.Unmarshal(raw, &want); err != nil {
		l.t.Fatal(err)
	}
	l.await(fmt.Sprintf("%s %s", name, raw), func(h happening) bool {
		return h.Type == "event" && h.Name == name && reflect.DeepEqual(h.Payload, want)
	})
}

// connected waits until the client is in, by what it should be.
func (l *listener) connected(transports string) {
	l.t.Helper()
	isConnect := func(h happening) bool { return h.Type == "connect" }
	if transports == "websocket" {
		if h := l.await("connect", isConnect); h.Transport != "websocket" {
			l.t.Errorf("connected by %s", h.Transport)
		}
		return
	}
	// It goes over to WebSocket as soon as it can, maybe before it is in.
	h := l.await("connect or upgrade", func(h happening) bool { return h.Type == "connect" || h.Type == "upgrade" })
	if h.Type == "connect" {
		if h.Transport != "polling" {
			l.t.Errorf("connected by %s", h.Transport)
		}
		h = l.await("upgrade", func(h happening) bool { return h.Type == "upgrade" })
	} else {
		l.await("connect", isConnect)
	}
	if h.Transport != "websocket" {
		l.t.Errorf("went over to %s", h.Transport)
	}
}

// TestSocketIO has an unmodified socket.io-client, with either setting, hear of
// a sale, lose the server, find it again by itself and hear the rest.
func TestSocketIO(t *testing.T) {
	t.Parallel()
	for _, transports := range []string{"default", "websocket"} {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			const units = 60
			d := newDeployment(t)
			p := d.serve(t)
			s := newShop(t, p)
			people := d.people(t, units)
			id := s.open(units, nil)
			l := listenTo(t, p.URL, transports)
			l.connected(transports)

			bought := s.mustReserve(object{"dropId": id, "userId": people[0]})
			l.event("stock_update", object{"dropId": id, "available_stock": units - 1, "reason": "reserved"})
			receipt := s.mustBuy(bought.ID)
			l.event("stock_update", object{"dropId": id, "available_stock": units - 1, "reason": "purchased"})
			l.event("purchase_complete", object{"dropId": id, "userId": people[0], "purchaseId": receipt.Purchase.ID})
			back := s.mustReserve(object{"dropId": id, "userId": people[1]})
			l.event("stock_update", object{"dropId": id, "available_stock": units - 2, "reason": "reserved"})
			if a := s.call("POST", "/api/drops/cancel", object{"reservationId": back.ID}, nil); a.status != 200 {
				t.Fatalf("cancel: %v", a)
			}
			l.event("stock_update", object{"dropId": id, "available_stock": units - 1, "reason": "cancelled"})

			if status := p.Terminate(); status != 0 {
				t.Errorf("holdfast ended with %d", status)
			}
			if h := l.await("disconnect", func(h happening) bool { return h.Type == "disconnect" }); h.Reason != "transport close" {
				t.Errorf("disconnected by %q", h.Reason)
			}
			p.Again()
			p.Ready()
			l.connected(transports)
			held := s.hold(id, people[1:])
			l.event("stock_update", object{"dropId": id, "available_stock": 0, "reason": "reserved"})
			var cancelled atomic.Int64
			atOnce(len(held), func(i int) {
				path, want := "/api/drops/purchase", 201
				if i%2 == 0 {
					path, want = "/api/drops/cancel", 200
					cancelled.Add(1)
				}
				if a := s.call("POST", path, object{"reservationId": held[i].ID}, nil); a.status != want {
					t.Errorf("%s: %v", path, a)
				}
			})
			l.await("purchase", func(h happening) bool {
				return h.Name == "purchase_complete" && h.Payload["userId"] != float64(people[0])
			})
			harness.Eventually(t, 20*time.Second, func() error {
				l.mu.Lock()
				defer l.mu.Unlock()
				for _, h := range slices.Backward(l.happened) {
					if h.Name != "stock_update" {
						continue
					}
					if h.Payload["available_stock"] != float64(cancelled.Load()) {
						return fmt.Errorf("at the end %v are available, want %d", h.Payload["available_stock"], cancelled.Load())
					}
					break
				}
				return nil
			})
		})
	}
}
