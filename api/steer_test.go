package api_test

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

// patch changes a drop; headers as for post.
func (c *client) patch(t *testing.T, drop int64, body any, headers ...string) reply {
	t.Helper()
	raw, err := json.Marshal(body)
	must(t, err)
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return c.do(t, http.MethodPatch, fmt.Sprint("/api/drops/", drop), string(raw), h)
}

func (c *client) release(t *testing.T, drop, reservation int64) reply {
	t.Helper()
	return c.do(t, http.MethodDelete, fmt.Sprintf("/api/drops/%d/holds/%d", drop, reservation), "", nil)
}

func at(d time.Duration) string { return time.Now().Add(d).UTC().Format("2006-01-02T15:04:05.000Z") }

func TestChangeDrop(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ada := s.user(t, "ada")
	drop := s.drop(t, fields{"start_time": at(time.Hour), "limit_per_customer": 1})
	end, soon := at(2*time.Hour), at(30*time.Minute)
	r := s.patch(t, drop, fields{
		"stock": []fields{{"add": 5}}, "start_time": soon, "end_time": end, "price": 99.5, "limit_per_customer": 2,
	}).want(t, 200).has(t, fields{
		"total_stock": 15, "available_stock": 15, "start_time": soon, "end_time": end, "price": 99.5, "limit_per_customer": 2,
	})
	if got := s.get(t, fmt.Sprint("/api/drops/", drop)).want(t, 200); string(got.raw) != string(r.raw) {
		t.Errorf("read: %s\nchanged: %s", got.raw, r.raw)
	}
	s.patch(t, drop, fields{"start_time": at(-time.Second), "end_time": nil, "limit_per_customer": nil}).want(t, 200).
		has(t, fields{"end_time": nil, "limit_per_customer": nil})
	first, second := s.hold(t, drop, ada), s.hold(t, drop, ada)
	s.hold(t, drop, ada)
	for body, code := range map[string]string{
		`{"price":1}`: "already_started", `{"start_time":"` + soon + `"}`: "already_started",
		`{"stock":[{"add":-13}]}`: "not_enough_available", `{"stock":[{"add":-16}]}`: "not_enough_available",
	} {
		s.patch(t, drop, json.RawMessage(body)).want(t, 409).has(t, fields{"code": code})
	}
	s.patch(t, drop, fields{"stock": []fields{{"add": -12}}, "state": "paused"}).want(t, 200).
		has(t, fields{"total_stock": 3, "available_stock": 0, "held": 3, "state": "paused"})
	s.reserveRefused(t, 1, drop, ada, 409, "paused")
	s.purchase(t, first).want(t, 201)
	s.patch(t, drop, fields{"state": "live"}).want(t, 200).has(t, fields{"state": "open"})
	s.patch(t, drop, fields{"state": "ended"}).want(t, 200).has(t, fields{"state": "ended"})
	s.reserveRefused(t, 1, drop, ada, 409, "ended")
	s.purchase(t, second).want(t, 201)
	for _, body := range []fields{{"state": "live"}, {"stock": []fields{{"add": 1}}}, {"end_time": nil}} {
		s.patch(t, drop, body).want(t, 409).has(t, fields{"code": "ended"})
	}
	s.wantStock(t, drop, 0, 1, 2)

	plain := s.drop(t, nil)
	s.hold(t, plain, ada)
	s.patch(t, plain, fields{"limit_per_customer": 1}).want(t, 409).has(t, fields{"code": "limit_not_counted"})
	s.patch(t, plain, fields{"limit_per_customer": nil}).want(t, 200).has(t, fields{"limit_per_customer": nil})
	sized := s.drop(t, fields{"total_stock": absent, "sizes": []fields{{"size": "42", "stock": 3}, {"size": "43", "stock": 2}}})
	s.patch(t, sized, fields{"stock": []fields{{"size": "43", "add": 4}, {"size": "42", "add": -3}}}).want(t, 200).has(t, fields{
		"total_stock": 6, "sizes": []fields{
			{"available_stock": 0, "held": 0, "size": "42", "sold": 0, "stock": 0}, {"available_stock": 6, "held": 0, "size": "43", "sold": 0, "stock": 6},
		},
	})
	s.patch(t, sized, fields{"stock": []fields{{"add": 4}}}).invalid(t, "size")
	s.patch(t, sized, fields{"stock": []fields{{"size": "44", "add": 4}}}).invalid(t, "size")
	s.patch(t, 999, fields{"state": "paused"}).refused(t, 404, "drop_not_found", "Drop not found")
}

func TestBadChanges(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop := s.drop(t, nil)
	s.leavesNoTrace(t, func() {
		for body, field := range map[string]string{
			`{}`: "body", `[]`: "body", `{"state":"odd"}`: "state", `{"state":null}`: "state", `{"name":"x"}`: "name",
			`{"stock":1}`: "stock", `{"stock":[]}`: "stock", `{"stock":[1]}`: "stock[0]", `{"stock":[{"add":0}]}`: "stock[0].add",
			`{"stock":[{}]}`: "stock[0].add", `{"stock":[{"add":1},{"add":1}]}`: "stock[1].size", `{"stock":[{"add":1.5}]}`: "stock[0].add",
			`{"stock":[{"add":16777217}]}`: "stock[0].add", `{"stock":[{"add":16777216}]}`: "stock", `{"stock":[{"add":1,"x":1}]}`: "stock[0].x",
			`{"price":-1}`: "price", `{"price":null}`: "price", `{"limit_per_customer":0}`: "limit_per_customer", `{"start_time":null}`: "start_time",
			`{"start_time":"2026-11-23T18:00:00Z","end_time":"2026-11-23T18:00:00Z"}`: "end_time",
		} {
			s.patch(t, drop, json.RawMessage(body)).invalid(t, field)
		}
	})
	s.patch(t, drop, fields{"end_time": at(-time.Second)}).invalid(t, "end_time")
	s.do(t, http.MethodPatch, "/api/drops/x", `{"state":"paused"}`, http.Header{"Content-Type": {"application/json"}}).invalid(t, "id")
	s.do(t, http.MethodPatch, fmt.Sprint("/api/drops/", drop), `{"state":"paused"}`, nil).want(t, 415)
}

func TestRepeatedChangeIsMadeOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop := s.drop(t, nil)
	body := fields{"stock": []fields{{"add": 5}}}
	for i := range 3 {
		r := s.patch(t, drop, body, "Idempotency-Key", "k 1").want(t, 200).has(t, fields{"total_stock": 15})
		if got := r.header.Get("Idempotency-Replayed"); (got == "true") != (i > 0) {
			t.Errorf("call %d: Idempotency-Replayed %q", i, got)
		}
	}
	s.patch(t, drop, fields{"stock": []fields{{"add": 6}}}, "Idempotency-Key", "k 1").
		refused(t, 422, "idempotency_conflict", "Idempotency-Key was used for another request")
	s.patch(t, drop, fields{"stock": []fields{{"add": -20}}}, "Idempotency-Key", "k 2").want(t, 409)
	s.patch(t, drop, body, "Idempotency-Key", "k 3").want(t, 200).has(t, fields{"total_stock": 20})
}

// TestChangeReachesOtherInstances has one instance change what another one shows,
// serves and tells.
func TestChangeReachesOtherInstances(t *testing.T) {
	t.Parallel()
	here := newServer(t)
	other := startServer(t, here.env, func(w *wiring) { w.noWriter = true })
	ada := here.user(t, "ada")
	drop := here.drop(t, fields{"start_time": at(time.Hour)})
	w := other.watch(t, "")
	w.until(func() bool { return w.drops[drop].Version > 0 })
	other.reserveRefused(t, 5, drop, ada, 409, "not_started")
	path := fmt.Sprint("/api/drops/", drop)
	type step struct {
		body, shown fields
		told        func() bool
		reserve     string // what a reservation is refused with elsewhere
	}
	steps := []step{
		{fields{"price": 7}, fields{"price": 7}, func() bool { return strings.Contains(lastUpdate(w), `"price":7,`) }, "not_started"},
		{fields{"start_time": at(-time.Second)}, fields{"price": 7}, func() bool { return true }, ""},
		{fields{"stock": []fields{{"add": 5}}}, fields{"total_stock": 15}, func() bool { return w.drops[drop].Total == 15 }, ""},
		{fields{"state": "paused"}, fields{"state": "paused"}, func() bool { return w.drops[drop].State == "paused" }, "paused"},
		{fields{"state": "live"}, fields{"state": "open"}, func() bool { return w.drops[drop].State == "open" }, ""},
		{fields{"limit_per_customer": nil}, fields{"limit_per_customer": nil}, func() bool { return true }, ""},
		{fields{"state": "ended"}, fields{"state": "ended"}, func() bool { return w.drops[drop].State == "ended" }, "ended"},
	}
	took := make([]time.Duration, 0, len(steps))
	for _, step := range steps {
		here.patch(t, drop, step.body).want(t, 200)
		changed := time.Now()
		w.until(step.told)
		told := time.Since(changed)
		harness.Eventually(t, 10*time.Second, func() error {
			got := other.get(t, path).want(t, 200)
			for field, want := range step.shown {
				wanted, err := json.Marshal(want)
				must(t, err)
				if have, _ := json.Marshal(got.body[field]); string(have) != string(wanted) {
					return fmt.Errorf("%s is %s, want %s", field, have, wanted)
				}
			}
			return nil
		})
		shown := time.Since(changed)
		harness.Eventually(t, 10*time.Second, func() error {
			r := other.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": ada})
			if step.reserve == "" && r.status != 201 || step.reserve != "" && r.body["code"] != step.reserve {
				return errors.New(string(r.raw))
			}
			return nil
		})
		t.Logf("%v: told after %v, shown after %v, in force after %v", step.body, told, shown, time.Since(changed))
		took = append(took, time.Since(changed))
	}
	slices.Sort(took) // one may be late where the machine has much to do
	if median := took[len(took)/2]; median > time.Second {
		t.Errorf("half of the changes took more than %v to reach the other instance", median)
	}
	r := here.get(t, path).want(t, 200)
	w.shows(drop, r.int(t, "available_stock"), r.int(t, "held"), r.int(t, "sold"))
}

// lastUpdate is the newest drop_updated. The watcher must be locked.
func lastUpdate(w *watching) string {
	for i := len(w.events) - 1; i >= 0; i-- {
		if w.events[i].Event == "drop_updated" {
			return string(w.events[i].Data)
		}
	}
	return ""
}

func TestReleaseHold(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop, other, ada := s.drop(t, nil), s.drop(t, nil), s.user(t, "ada")
	held, bought := s.hold(t, drop, ada), s.hold(t, drop, ada)
	s.purchase(t, bought).want(t, 201)
	s.release(t, other, held).refused(t, 404, "reservation_not_found", "Reservation not found")
	s.release(t, drop, held+5).refused(t, 404, "reservation_not_found", "Reservation not found")
	s.release(t, drop, bought).refused(t, 409, "reservation_completed", "Reservation already purchased")
	s.release(t, drop, held).want(t, 200).has(t, fields{"id": held, "status": "cancelled", "UserId": ada})
	s.release(t, drop, held).want(t, 200).has(t, fields{"status": "cancelled"})
	s.purchase(t, held).refused(t, 410, "reservation_cancelled", "Reservation cancelled")
	s.wantStock(t, drop, 9, 0, 1)
	s.inHistory(t, held)
	s.do(t, http.MethodDelete, fmt.Sprintf("/api/drops/%d/holds/x", drop), "", nil).invalid(t, "reservation")
}

func TestAdminLog(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop, ada := s.drop(t, nil), s.user(t, "ada")
	held := s.hold(t, drop, ada)
	s.patch(t, drop, fields{"stock": []fields{{"add": 5}}, "state": "paused"}).want(t, 200)
	s.patch(t, drop, fields{"stock": []fields{{"add": -50}}}).want(t, 409) // was no act
	s.release(t, drop, held).want(t, 200)
	var log struct {
		Acts []struct {
			ID            int64
			Who, Action   string
			DropID        int64 `json:"DropId"`
			Address       string
			Before, After map[string]any
		}
	}
	list := func(query string) {
		t.Helper()
		log.Acts = nil
		must(t, json.Unmarshal(s.get(t, "/api/admin/log"+query).want(t, 200).raw, &log))
	}
	list("")
	if len(log.Acts) != 3 {
		t.Fatalf("%+v", log.Acts)
	}
	release, change, create := log.Acts[0], log.Acts[1], log.Acts[2]
	if release.Action != "release" || release.Before["status"] != "active" || release.After["status"] != "cancelled" || release.Before["id"] != float64(held) {
		t.Errorf("%+v", release)
	}
	if change.Action != "change" || change.Before["state"] != "open" || change.After["state"] != "paused" || change.Who != "admin" || change.Address == "" ||
		fmt.Sprint(change.Before["sizes"], change.After["sizes"]) != "[map[size: stock:10]] [map[size: stock:15]]" {
		t.Errorf("%+v", change)
	}
	if create.Action != "create" || create.DropID != drop || create.Before != nil || create.After["state"] != "open" {
		t.Errorf("%+v", create)
	}
	s.drop(t, nil)
	list(fmt.Sprintf("?limit=2&drop=%d&before=%d", drop, release.ID))
	if len(log.Acts) != 2 || log.Acts[0].ID != change.ID {
		t.Errorf("%+v", log.Acts)
	}
	s.get(t, "/api/admin/log?limit=0").invalid(t, "limit")
}

func TestAuditIsShown(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop, ada := s.drop(t, nil), s.user(t, "ada")
	id := s.hold(t, drop, ada)
	s.purchase(t, id).want(t, 201)
	s.hold(t, drop, ada)
	s.inHistory(t, id)
	s.patch(t, drop, fields{"stock": []fields{{"add": 5}}}).want(t, 200)
	r := s.get(t, "/api/admin/audit").want(t, 200).has(t, fields{"differences": 0, "lost_work": fields{}})
	lines := r.body["lines"].([]any)
	line := reply{body: lines[0].(map[string]any), raw: r.raw}
	line.has(t, fields{
		"drop": drop, "busy": false, "problem": "", "live_holds": 1,
		"redis": fields{"available": 13, "held": 1, "sold": 1, "total": 15}, "postgres": fields{"purchases": 1, "refused": 0, "sold": 1, "total": 15},
	})
	must(t, s.env.Redis().HIncrBy(t.Context(), dropKey(s, drop), "a:", 1).Err())
	s.get(t, "/api/admin/audit").want(t, 200).has(t, fields{"differences": 1})
}

func TestSalesAsCSV(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) { w.noWriter = true })
	drop, empty := s.drop(t, fields{"total_stock": 5000, "price": 12.5}), s.drop(t, nil)
	const many = 2*persist.SalesPage + 1
	seed(t, s, drop, many)
	r := s.get(t, fmt.Sprintf("/api/drops/%d/sales.csv", drop)).want(t, 200)
	if got := r.header.Get("Content-Disposition"); got != fmt.Sprintf(`attachment; filename="drop-%d-sales.csv"`, drop) {
		t.Errorf("Content-Disposition %q", got)
	}
	rows, err := csv.NewReader(strings.NewReader(string(r.raw))).ReadAll()
	must(t, err)
	if len(rows) != many+1 || strings.Join(rows[0], " ") != "purchase_id purchased_at user_id username email size price" {
		t.Fatalf("%d rows, the first %v", len(rows), rows[0])
	}
	for i, row := range rows[1:] {
		if want := engine.ReservationID(drop, int64(i+1)); row[0] != strconv.FormatInt(want, 10) {
			t.Fatalf("row %d is of %s, want %d", i, row[0], want)
		}
	}
	if row := rows[1]; row[3] != `'=cmd|' /C calc'!A0, "x", =1+1` || row[4] != "'+a@example.com" || row[5] != "'-42" || row[6] != "12.5" {
		t.Errorf("row %q", row)
	}
	r = s.get(t, fmt.Sprintf("/api/drops/%d/sales.csv", empty)).want(t, 200)
	if lines := bufio.NewScanner(strings.NewReader(string(r.raw))); !lines.Scan() || lines.Scan() {
		t.Errorf("a drop without sales: %s", r.raw)
	}
	s.get(t, "/api/drops/999/sales.csv").refused(t, 404, "drop_not_found", "Drop not found")
}

// TestHeadOfSales leaves the connection as any HEAD does: nothing comes after the headers.
func TestHeadOfSales(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop := s.drop(t, nil)
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	must(t, err)
	defer func() { _ = c.Close() }()
	_, err = fmt.Fprintf(c, "HEAD /api/drops/%d/sales.csv HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", drop, harness.AdminToken)
	must(t, err)
	in := bufio.NewReader(c)
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v, %v", method, resp, err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		must(t, errors.Join(err, resp.Body.Close()))
	}
}

// seed writes sales to Postgres, of one person with an ugly name.
func seed(t *testing.T, s *server, drop int64, n int) {
	t.Helper()
	db, err := pgx.Connect(t.Context(), s.env.DatabaseURL)
	must(t, err)
	defer func() { must(t, db.Close(t.Context())) }()
	_, err = db.Exec(t.Context(), `
		WITH u AS (INSERT INTO users (username, email) VALUES ('=cmd|'' /C calc''!A0, "x"; =1+1', '+a@example.com') RETURNING id)
		INSERT INTO purchases (id, drop_id, user_id, size, pool, purchased_at)
		SELECT $1::bigint + i, $2, u.id, '-42', '', now() FROM u, generate_series(1, $3::int) AS i`, engine.ReservationID(drop, 0), drop, n)
	must(t, err)
}
