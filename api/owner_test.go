package api_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/test/harness"
)

// buyer is somebody with a token.
type buyer struct {
	*server
	id    int64
	token []string
}

// buyer adds somebody, whose token has his id.
func (s *server) buyer(t *testing.T, name string) buyer {
	t.Helper()
	id := s.user(t, name)
	return buyer{s, id, as(tokenOf(t, strconv.FormatInt(id, 10)))}
}

func (b buyer) reserve(t *testing.T, drop int64, headers ...string) reply {
	t.Helper()
	return b.post(t, "/api/drops/reserve", fields{"dropId": drop}, append(headers, b.token...)...)
}

func (b buyer) hold(t *testing.T, drop int64) int64 {
	t.Helper()
	return b.reserve(t, drop).want(t, 201).has(t, fields{"UserId": b.id}).int(t, "id")
}

func (b buyer) end(t *testing.T, how string, id int64) reply {
	t.Helper()
	return b.post(t, "/api/drops/"+how, fields{"reservationId": id}, b.token...)
}

func (b buyer) look(t *testing.T, id int64) reply {
	t.Helper()
	return b.do(t, http.MethodGet, fmt.Sprint("/api/reservations/", id), "", http.Header{"Authorization": {b.token[1]}})
}

// sees waits until the reservation has the status.
func (b buyer) sees(t *testing.T, id int64, status string) {
	t.Helper()
	harness.Eventually(t, 10*time.Second, func() error {
		if r := b.look(t, id); r.status != 200 || r.body["status"] != status {
			return fmt.Errorf("want %s: %d %s", status, r.status, r.raw)
		}
		return nil
	})
}

// hearsNothing fails unless the reservation is none for him.
func (b buyer) hearsNothing(t *testing.T, id int64, when string) {
	t.Helper()
	for what, r := range map[string]reply{
		"looked up": b.look(t, id), "bought": b.end(t, "purchase", id), "cancelled": b.end(t, "cancel", id),
	} {
		if r.status != 404 || r.body["code"] != "reservation_not_found" {
			t.Errorf("%s, %s by another: %d %s", when, what, r.status, r.raw)
		}
	}
}

// TestReservationIsItsOwners has somebody else look up, buy and cancel a
// reservation in each state, while Redis and once Postgres alone knows of it.
func TestReservationIsItsOwners(t *testing.T) {
	t.Parallel()
	s := newServer(t, withTokens(t), func(w *wiring) { w.noWriter, w.noExpirer = true, true })
	ada, bob := s.buyer(t, "ada"), s.buyer(t, "bob")
	drop, brief := s.drop(t, nil), s.drop(t, fields{"hold_seconds": 0.25})

	held, bought, given, lapsed := ada.hold(t, drop), ada.hold(t, drop), ada.hold(t, drop), ada.hold(t, brief)
	ada.end(t, "purchase", bought).want(t, 201)
	ada.end(t, "cancel", given).want(t, 200)
	ada.sees(t, lapsed, "expired")
	all := map[string]int64{"held": held, "bought": bought, "given back": given, "lapsed": lapsed}
	nobodyElse := func(when string) {
		t.Helper()
		for state, id := range all {
			bob.hearsNothing(t, id, when+", "+state)
		}
	}
	nobodyElse("lapsed and not released")
	ada.end(t, "purchase", lapsed).want(t, 410)
	s.startExpirer(t)
	harness.Eventually(t, 10*time.Second, func() error {
		if r := s.get(t, fmt.Sprint("/api/drops/", brief)); r.body["held"] != 0.0 {
			return fmt.Errorf("%s", r.raw)
		}
		return nil
	})
	nobodyElse("in the ledger")
	ada.end(t, "purchase", lapsed).want(t, 410)
	s.startWriter(t)
	for _, id := range []int64{bought, given, lapsed} {
		s.inHistory(t, id)
	}
	nobodyElse("in the history")
	ada.sees(t, lapsed, "expired")
	ada.end(t, "purchase", lapsed).want(t, 410)
	ada.end(t, "cancel", lapsed).want(t, 410)
	ada.end(t, "cancel", given).want(t, 200)
	ada.end(t, "purchase", bought).want(t, 200)
	s.wantStock(t, drop, 8, 1, 1)

	// A Redis that has lost the drop: Postgres knows the receipt, and whose it is.
	must(t, s.env.Redis().Del(t.Context(), dropKey(s, drop)).Err())
	delete(all, "held")
	nobodyElse("with Redis lost")
	ada.end(t, "purchase", bought).want(t, 200)
	ada.sees(t, bought, "completed")
}

func TestReserveIsForWhoeverTheTokenSays(t *testing.T) {
	t.Parallel()
	s := newServer(t, withTokens(t))
	ada, bob := s.buyer(t, "ada"), s.buyer(t, "bob")
	drop := s.drop(t, nil)
	reserve := func(more fields, headers ...string) reply {
		return s.post(t, "/api/drops/reserve", with(fields{"dropId": drop}, more), append(headers, ada.token...)...)
	}
	reserve(nil).want(t, 201).has(t, fields{"UserId": ada.id})
	reserve(fields{"userId": ada.id}).want(t, 201).has(t, fields{"UserId": ada.id})
	reserve(fields{"userId": nil, "userName": " ", "email": nil}).want(t, 201).has(t, fields{"UserId": ada.id})
	s.leavesNoTrace(t, func() {
		reserve(fields{"userId": bob.id}).refused(t, 403, "user_mismatch", "userId is not the user of the token")
		reserve(fields{"userName": "bob"}).invalid(t, "userName")
		reserve(fields{"email": "bob@example.com"}).invalid(t, "email")
	})

	// A key belongs to whoever used it first; nobody else hears what it got.
	const key = "6f1c1a52-8f4d-4e6e-9a0b-0d8f4c1f2f11"
	first := ada.reserve(t, drop, "Idempotency-Key", key).want(t, 201)
	again := ada.reserve(t, drop, "Idempotency-Key", key).want(t, 201)
	if first.int(t, "id") != again.int(t, "id") || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("repeated: %s", again.raw)
	}
	r := bob.reserve(t, drop, "Idempotency-Key", key).want(t, 422)
	if bytes.Contains(r.raw, []byte(strconv.FormatInt(first.int(t, "id"), 10))) {
		t.Errorf("another's key tells of his reservation: %s", r.raw)
	}
}

// TestSubjectGetsAUser: a sub that is no user's id is a subject, who gets one
// user on all instances, however many calls come at once.
func TestSubjectGetsAUser(t *testing.T) {
	t.Parallel()
	s := newServer(t, withTokens(t))
	other := startServer(t, s.env, withTokens(t), func(w *wiring) { w.noExpirer, w.noWriter = true, true })
	drop := s.drop(t, nil)
	claims := claimsOf("auth0|ada")
	claims["preferred_username"] = "ada"
	token := as(signed(t, jwt.SigningMethodHS256, []byte(tokenSecret), claims))
	var mu sync.Mutex
	users := map[int64]int{}
	var calls sync.WaitGroup
	for i := range 8 {
		calls.Go(func() {
			at := []*server{s, other}[i%2]
			r := at.post(t, "/api/drops/reserve", fields{"dropId": drop}, token...)
			id, _ := r.body["UserId"].(float64)
			mu.Lock()
			defer mu.Unlock()
			users[int64(id)]++
		})
	}
	calls.Wait()
	if len(users) != 1 || users[0] > 0 {
		t.Fatalf("users %v, want one for all calls", users)
	}
	for id := range users {
		s.do(t, http.MethodGet, fmt.Sprint("/api/users/", id), "", http.Header{"Authorization": {token[1]}}).
			want(t, 200).has(t, fields{"id": id, "username": "ada", "email": nil})
		// A guest of the same name is somebody else.
		if guest := s.user(t, "ada"); guest == id {
			t.Error("a guest's name finds the user of a token")
		}
	}
	for sub, name := range map[string]string{"007": "", "9999999999999999999": "bob@example.com", "0": strings.Repeat("x", 65), "-1": "a\u0000b"} {
		c := claimsOf(sub)
		c["preferred_username"] = name
		c["iss"] = tokenIssuer
		r := s.post(t, "/api/drops/reserve", fields{"dropId": drop}, as(signed(t, jwt.SigningMethodHS256, []byte(tokenSecret), c))...)
		if r.status == 400 { // sold out, but known by then
			r.refused(t, 400, "out_of_stock", "Out of stock")
			continue
		}
		user, err := s.users.User(t.Context(), r.want(t, 201).int(t, "UserId"))
		must(t, err)
		if !strings.HasPrefix(user.Username, "buyer-") {
			t.Errorf("sub %q, called %q, is shown as %q", sub, name, user.Username)
		}
	}
	// An id of a user whom nobody knows.
	s.post(t, "/api/drops/reserve", fields{"dropId": drop}, as(tokenOf(t, "123456"))...).
		refused(t, 401, "invalid_token", "Token is not valid")
}

// TestNoTokenIsLogged has all that can go wrong with tokens go wrong, with the
// log at its most talkative.
func TestNoTokenIsLogged(t *testing.T) {
	t.Parallel()
	var log harness.Output
	s := newServer(t, withTokens(t), func(w *wiring) {
		before := w.api
		w.api = func(c *api.Config) {
			before(c)
			c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
	})
	drop := s.drop(t, nil)
	secrets := []string{tokenSecret, harness.AdminToken}
	for _, token := range tokensFor(t, "auth0|ada", "auth0|bob") {
		s.post(t, "/api/drops/reserve", fields{"dropId": drop}, as(token)...)
		s.do(t, http.MethodGet, fmt.Sprintf("/api/admin/figures?drop=%d", drop), "", http.Header{"Authorization": {"Bearer " + token}})
		for part := range strings.SplitSeq(token, ".") {
			if len(part) > 8 {
				secrets = append(secrets, part)
			}
		}
	}
	must(t, s.env.Redis().Set(t.Context(), dropKey(s, drop), "not a hash", 0).Err()) // for an internal error
	s.post(t, "/api/drops/reserve", fields{"dropId": drop}, as(tokenOf(t, "auth0|ada"))...)
	text := log.String()
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("the log has %q:\n%s", secret, text)
		}
	}
}
