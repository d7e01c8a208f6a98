package integration

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fasthttp/websocket"

	"github.com/holdfast/holdfast/test/harness"
)

// lie is what a proxy before a server does to it.
type lie struct {
	// answers instead of the server where it returns true.
	answer func(w http.ResponseWriter, path string, body []byte) bool
	// changes what the server answers with success.
	change func(path string, status int, body []byte) (int, []byte)
	// frames are those told to a watcher in place of its nth one, which is the
	// snapshot where n is 0.
	frames func(n int, frame []byte) [][]byte
}

// lieTo has a proxy stand before the instance.
func lieTo(t *testing.T, p *harness.Process, l lie) (address string) {
	t.Helper()
	target, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorLog: log.New(io.Discard, "", 0), // a reading that is given up at a test's end
		ModifyResponse: func(res *http.Response) error {
			if res.StatusCode == http.StatusSwitchingProtocols {
				return nil
			}
			body, err := io.ReadAll(res.Body)
			if err != nil {
				return err
			}
			if l.change != nil {
				res.StatusCode, body = l.change(res.Request.URL.Path, res.StatusCode, body)
			}
			res.Body = io.NopCloser(bytes.NewReader(body))
			res.ContentLength = int64(len(body))
			res.Header.Set("Content-Length", strconv.Itoa(len(body)))
			return nil
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" && l.frames != nil {
			l.feed(t, w, r, target.Host)
			return
		}
		if l.answer != nil && r.Method == http.MethodPost {
			body, err := io.ReadAll(r.Body)
			if err != nil || l.answer(w, r.URL.Path, body) {
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// feed passes frames on as the lie wants them.
func (l lie) feed(t *testing.T, w http.ResponseWriter, r *http.Request, host string) {
	t.Helper()
	from, res, err := websocket.DefaultDialer.DialContext(r.Context(), "ws://"+host+r.URL.RequestURI(), nil)
	if err != nil {
		t.Error(err)
		return
	}
	_ = res.Body.Close()
	defer func() { _ = from.Close() }()
	to, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		t.Error(err)
		return
	}
	go func() { // the watcher leaves
		_, _, _ = to.ReadMessage()
		_ = from.Close()
	}()
	defer func() { _ = to.Close() }()
	for n := 0; ; n++ {
		_, frame, err := from.ReadMessage()
		if err != nil {
			return
		}
		for _, told := range l.frames(n, frame) {
			if to.WriteMessage(websocket.TextMessage, told) != nil {
				return
			}
		}
	}
}

var (
	anyID       = regexp.MustCompile(`"id":\d+`)
	anyUser     = regexp.MustCompile(`"UserId":\d+`)
	aDrop       = regexp.MustCompile(`^/api/drops/\d+$`)
	heldCount   = regexp.MustCompile(`"held":(\d+)`)
	availStock  = regexp.MustCompile(`"available_stock":(\d+)`)
	soldCount   = regexp.MustCompile(`"sold":(\d+)`)
	wantedUser  = regexp.MustCompile(`"userId":(\d+)`)
	wantedDrop  = regexp.MustCompile(`"dropId":(\d+)`)
	wantedUnit  = regexp.MustCompile(`"reservationId":(\d+)`)
	askedStatus = regexp.MustCompile(`"status":"\w+"`)
)

// memo keeps the first of its kind.
type memo struct {
	mu   sync.Mutex
	kept []byte
}

func (m *memo) first(now []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil {
		m.kept = bytes.Clone(now)
	}
	return m.kept
}

// raise adds to a number in JSON, the first that the pattern finds.
func raise(body []byte, number *regexp.Regexp, by int64) []byte {
	at := number.FindSubmatchIndex(body)
	if at == nil {
		return body
	}
	n, _ := strconv.ParseInt(string(body[at[2]:at[3]]), 10, 64)
	return append(strconv.AppendInt(bytes.Clone(body[:at[2]]), n+by, 10), body[at[3]:]...)
}

func found(body []byte, number *regexp.Regexp) string { return string(number.FindSubmatch(body)[1]) }

func answerJSON(w http.ResponseWriter, status int, format string, args ...any) bool {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, format, args...)
	return true
}

// TestLoadtestFindsLies has a proxy falsify what a good server says: the
// verdict is no, by the check that has to find it. The proxy alone changes
// nothing.
func TestLoadtestFindsLies(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	server := d.serve(t)
	var ids, frames memo
	var made atomic.Int64
	changeOf := func(path string, to func(body []byte) []byte) func(string, int, []byte) (int, []byte) {
		return func(at string, status int, body []byte) (int, []byte) {
			if status < 300 && (at == path || path == "drop" && aDrop.MatchString(at) || path == "reservation" && strings.HasPrefix(at, "/api/reservations/")) {
				body = to(body)
			}
			return status, body
		}
	}
	for _, c := range []struct {
		name, scenario string
		lie            lie
		finds          string // the check; "" none
	}{
		{name: "the truth", scenario: "mixed", lie: lie{frames: func(_ int, frame []byte) [][]byte { return [][]byte{frame} }}},
		{"an id given twice", "reserve", lie{change: changeOf("/api/drops/reserve", func(body []byte) []byte {
			return anyID.ReplaceAll(body, ids.first(anyID.Find(body)))
		})}, "No two reservations have the same id"},
		{"units that nobody holds", "reserve", lie{answer: func(w http.ResponseWriter, path string, body []byte) bool {
			if path != "/api/drops/reserve" {
				return false
			}
			return answerJSON(w, http.StatusCreated, `{"id":%d,"UserId":%s,"DropId":%s}`, made.Add(1), found(body, wantedUser), found(body, wantedDrop))
		}}, "Successes equal units gone"},
		{"another buyer's hold", "reserve", lie{change: changeOf("/api/drops/reserve", func(body []byte) []byte {
			return anyUser.ReplaceAll(body, []byte(`"UserId":1`))
		})}, "Each success names its buyer, drop and reservation"},
		{"a purchase that is none", "checkout", lie{answer: func(w http.ResponseWriter, path string, body []byte) bool {
			if path != "/api/drops/purchase" {
				return false
			}
			return answerJSON(w, http.StatusNotFound, `{"error":"Reservation %s not found","code":"reservation_not_found"}`, found(body, wantedUnit))
		}}, "No hold was lost"},
		{"sold out with units left", "soldout", lie{answer: func(w http.ResponseWriter, path string, _ []byte) bool {
			return path == "/api/drops/reserve" && answerJSON(w, http.StatusBadRequest, `{"error":"Out of stock","code":"out_of_stock"}`)
		}}, "Nobody was sent away while units were left"},
		{"a hidden unit", "browse", lie{change: changeOf("drop", func(body []byte) []byte {
			return raise(body, availStock, -1)
		})}, "Available + held + sold = total"},
		{"a hold that counts as free", "reserve", lie{change: changeOf("drop", func(body []byte) []byte {
			return raise(raise(body, availStock, 1), heldCount, -1)
		})}, "Held is what was left held"},
		{"a hold that counts as sold", "checkout", lie{change: changeOf("drop", func(body []byte) []byte {
			return raise(raise(body, heldCount, -1), soldCount, 1)
		})}, "Sold is what was bought"},
		{"a purchase that is forgotten", "checkout", lie{change: changeOf("reservation", func(body []byte) []byte {
			return askedStatus.ReplaceAll(body, []byte(`"status":"expired"`))
		})}, "Reservations stand as their buyers were told"},
		{"a feed that stands still", "reserve", lie{frames: func(n int, frame []byte) [][]byte {
			if n > 3 {
				return nil
			}
			return [][]byte{frame}
		}}, "Each watcher ends on the counters of the API"},
		{"a feed that goes back", "reserve", lie{frames: func(n int, frame []byte) [][]byte {
			if n == 0 {
				return [][]byte{frame}
			}
			return [][]byte{frame, frames.first(frame)}
		}}, "No watcher was told an older version after a newer one"},
		{"a feed with wrong counters", "reserve", lie{frames: func(_ int, frame []byte) [][]byte {
			return [][]byte{raise(raise(frame, availStock, 1), heldCount, -1)}
		}}, "Each watcher ends on the counters of the API"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, page, status := loadtest(t, lieTo(t, server, c.lie), "--scenario", c.scenario, "--rate", "60", "--duration", "700ms",
				"--buyers", "5", "--watchers", "2")
			denied := strings.Join(r.denied(), "\n")
			if c.finds == "" {
				if status != 0 || !r.OK || denied != "" {
					t.Errorf("ended with %d: %s", status, denied)
				}
				return
			}
			if status != 1 || r.OK || !strings.Contains(denied, c.finds) {
				t.Errorf("ended with %d: %s", status, denied)
			}
			contains(t, html.UnescapeString(page), "The audit says no", c.finds)
		})
	}
}
