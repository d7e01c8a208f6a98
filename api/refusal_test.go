package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/engine"
)

const never = 9_000_000_000_000_000 // an id that nothing has

func TestOutOfStock(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop, user := s.drop(t, fields{"total_stock": 1}), s.user(t, "ada")
	s.hold(t, drop, user)
	s.leavesNoTrace(t, func() {
		r := s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": user}, "Idempotency-Key", "k").want(t, 400)
		if string(r.raw) != `{"error":"Out of stock","code":"out_of_stock"}` {
			t.Errorf("answer %s", r.raw)
		}
	})
	s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userName": "bob"}).refused(t, 400, "out_of_stock", "Out of stock")
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop, user := s.drop(t, nil), s.user(t, "ada")
	notIssued := s.hold(t, drop, user) + 1
	s.leavesNoTrace(t, func() {
		const noDrop, noUser, noReservation = "Drop not found", "User not found", "Reservation not found"
		s.post(t, "/api/drops/reserve", fields{"dropId": 99, "userId": user}).refused(t, 404, "drop_not_found", noDrop)
		s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": never}).refused(t, 404, "user_not_found", noUser)
		for _, id := range []int64{notIssued, never, 1} {
			s.purchase(t, id).refused(t, 404, "reservation_not_found", noReservation)
			s.cancel(t, id).refused(t, 404, "reservation_not_found", noReservation)
			s.get(t, fmt.Sprint("/api/reservations/", id)).refused(t, 404, "reservation_not_found", noReservation)
		}
		for _, id := range []string{"0", "-1", "16777216", "9007199254740992", "99999999999999999999"} {
			s.get(t, "/api/drops/"+id).refused(t, 404, "drop_not_found", noDrop)
			s.get(t, "/api/users/"+id).refused(t, 404, "user_not_found", noUser)
			s.get(t, "/api/reservations/"+id).refused(t, 404, "reservation_not_found", noReservation)
		}
		for _, path := range []string{"/api", "/nowhere", "/api/admin", "/api/drops/1/nowhere", "/api/nowhere", "/api/drops/1/2", "/api/drops/1/../../x"} {
			r := s.get(t, path).refused(t, 404, "not_found", "Route not found")
			if string(r.raw) != `{"error":"Route not found","code":"not_found"}` {
				t.Errorf("answer %s", r.raw)
			}
		}
	})
}

func TestWrongMethod(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for path, methods := range map[string]string{
		"/api/drops/create": "GET PUT DELETE PATCH", "/api/drops/reserve": "GET PUT", "/api/drops/purchase": "GET", "/api/drops/cancel": "GET DELETE",
		"/api/drops": "POST PUT", "/api/drops/1": "POST PUT DELETE get PROPFIND", "/api/users": "GET", "/api/users/1": "DELETE",
		"/api/reservations/1": "POST", "/healthz": "POST TRACE NONSENSE", "/readyz": "POST", "/metrics": "POST", "/docs": "POST",
	} {
		for method := range strings.FieldsSeq(methods) {
			r := s.do(t, method, path, "", nil).refused(t, 405, "method_not_allowed", "Method not allowed")
			if r.header.Get("Allow") == "" {
				t.Errorf("%s %s: no Allow", method, path)
			}
		}
	}
	s.do(t, "PROPFIND", "/nowhere", "", nil).refused(t, 404, "not_found", "Route not found")
	for _, path := range []string{"/healthz", "/readyz", "/api/drops"} {
		s.do(t, http.MethodHead, path, "", nil).want(t, 200) // load balancers ask so
	}
}

func TestDropDoesNotAdmit(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	user := s.user(t, "ada")
	at := func(d time.Duration) string { return time.Now().Add(d).Format(time.RFC3339) }
	soon := s.drop(t, fields{"start_time": at(time.Hour)})
	over := s.drop(t, fields{"start_time": at(-time.Hour), "end_time": at(-time.Minute)})
	paused := s.drop(t, nil)
	pause(t, s, paused)
	limited := s.drop(t, fields{"limit_per_customer": 2})
	held, bought := s.hold(t, limited, user), s.hold(t, limited, user)
	s.purchase(t, bought).want(t, 201)
	s.become(t, bought, "persisted", "confirmed")
	s.leavesNoTrace(t, func() {
		reserve := func(drop int64) reply {
			t.Helper()
			return s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": user}, "Idempotency-Key", "k")
		}
		reserve(soon).refused(t, 409, "not_started", "Drop has not started")
		reserve(over).refused(t, 409, "ended", "Drop has ended")
		reserve(paused).refused(t, 409, "paused", "Drop is paused")
		reserve(limited).refused(t, 409, "limit_reached", "Limit per customer reached")
		s.cancel(t, bought).refused(t, 409, "reservation_completed", "Reservation already purchased")
	})
	s.cancel(t, held).want(t, 200)
	s.hold(t, limited, user)
}

func dropKey(s *server, drop int64) string {
	return fmt.Sprint(engine.KeyPrefix(s.env.Prefix, 2, int(drop%2)), "drop:", drop)
}

// pause sets the drop's state as an operator would.
func pause(t *testing.T, s *server, drop int64) {
	t.Helper()
	key := dropKey(s, drop)
	redis := s.env.Redis()
	if n, err := redis.Exists(t.Context(), key).Result(); err != nil || n != 1 {
		t.Fatalf("no key %s: %v", key, err)
	}
	must(t, redis.HSet(t.Context(), key, "state", "paused").Err())
}

func TestContentType(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop := s.drop(t, nil)
	body := fmt.Sprintf(`{"dropId":%d,"userName":"ada"}`, drop)
	s.leavesNoTrace(t, func() {
		for _, path := range posts {
			for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application/json,", "é", "multipart/form-data; boundary=x"} {
				s.do(t, http.MethodPost, path, body, http.Header{"Content-Type": {kind}}).
					refused(t, 415, "unsupported_media_type", "Content-Type must be application/json")
			}
			for _, encoding := range []string{"gzip", "br", "identity, gzip", "nonsense"} {
				s.postRaw(t, path, body, "Content-Encoding", encoding).
					refused(t, 415, "unsupported_media_type", "Content-Encoding is not supported")
			}
		}
	})
	s.postRaw(t, "/api/drops/reserve", body, "Content-Type", "Application/JSON; charset=UTF-8").want(t, 201)
}

func TestRefusedPurchaseIsShown(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) { w.noWriter = true })
	drop, user := s.drop(t, nil), s.user(t, "ada")
	id := s.hold(t, drop, user)
	s.purchase(t, id).want(t, 201)
	db, err := pgx.Connect(t.Context(), s.env.DatabaseURL)
	must(t, err)
	defer func() { must(t, db.Close(t.Context())) }()
	_, err = db.Exec(t.Context(), `INSERT INTO reservations VALUES ($1, $2, $3, '', 'refused', now(), now(), now())`, id, drop, user)
	must(t, err)
	s.reservation(t, id).has(t, fields{"status": "refused", "persisted": nil})
}

func TestDropThatRedisLost(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop, user := s.drop(t, nil), s.user(t, "ada")
	must(t, s.env.Redis().Del(t.Context(), dropKey(s, drop)).Err())
	s.get(t, fmt.Sprint("/api/drops/", drop)).want(t, 200).has(t, fields{"state": "paused", "available_stock": 0, "total_stock": 10})
	s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": user}).refused(t, 404, "drop_not_found", "Drop not found")
}
