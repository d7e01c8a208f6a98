package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/api"
)

// isTime fails unless the value is a time in UTC, within a minute of want.
func isTime(t *testing.T, value any, want time.Time) {
	t.Helper()
	s, _ := value.(string)
	at, err := time.Parse(time.RFC3339, s)
	if err != nil || !strings.HasSuffix(s, "Z") || at.Sub(want).Abs() > time.Minute {
		t.Errorf("time %v, want about %v, in UTC with Z", value, want.UTC())
	}
}

func TestCreateDrop(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	start := time.Now().Add(-time.Hour).Truncate(time.Second)
	r := s.post(t, "/api/drops/create", fields{
		"name": " Air Runner ", "price": json.Number("180.00"), "total_stock": 100,
		"start_time": start.In(time.FixedZone("", 3600)).Format(time.RFC3339),
	}).want(t, 201)
	r.has(t, fields{
		"name": "Air Runner", "price": 180, "total_stock": 100, "available_stock": 100, "held": 0, "sold": 0,
		"hold_seconds": 60, "limit_per_customer": nil, "image_url": nil, "end_time": nil, "state": "open",
		"sizes": []any{}, "Purchases": []any{}, "start_time": start.UTC().Format("2006-01-02T15:04:05.000Z"),
	})
	isTime(t, r.body["created_at"], time.Now())
	again := s.get(t, fmt.Sprint("/api/drops/", r.int(t, "id"))).want(t, 200)
	if string(again.raw) != string(r.raw) {
		t.Errorf("looked up: %s\ncreated:   %s", again.raw, r.raw)
	}
	if kind := r.header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("Content-Type %q", kind)
	}
}

func TestPricesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for in, out := range map[string]string{
		"180.00": "180", "180": "180", "179.5": "179.5", "179.50": "179.5", "0.01": "0.01", "0.1": "0.1",
		"0": "0", "0.29": "0.29", "1.10": "1.1", "1000000000": "1000000000", "999999999.99": "999999999.99",
	} {
		r := s.post(t, "/api/drops/create", with(newDrop(), fields{"price": json.Number(in)})).want(t, 201)
		if !strings.Contains(string(r.raw), `"price":`+out+`,`) {
			t.Errorf("price %s in, want %s out: %s", in, out, r.raw)
		}
	}
}

func TestDropWithEverything(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	r := s.post(t, "/api/drops/create", with(newDrop(), fields{
		"total_stock": absent, "sizes": []fields{{"size": "42", "stock": 3}, {"size": "½ größe", "stock": 2}},
		"end_time": end.Format(time.RFC3339), "hold_seconds": 1.5, "limit_per_customer": 2, "image_url": "/img/a.jpg",
	})).want(t, 201)
	r.has(t, fields{
		"total_stock": 5, "available_stock": 5, "hold_seconds": 1.5, "limit_per_customer": 2, "image_url": "/img/a.jpg",
		"end_time": end.Format("2006-01-02T15:04:05.000Z"),
		"sizes": []fields{
			{"available_stock": 3, "held": 0, "size": "42", "sold": 0, "stock": 3},
			{"available_stock": 2, "held": 0, "size": "½ größe", "sold": 0, "stock": 2},
		},
	})
}

func TestNullAndBlankAreNotGiven(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop := s.drop(t, fields{"end_time": nil, "hold_seconds": nil, "limit_per_customer": nil, "image_url": nil, "sizes": nil})
	user := s.post(t, "/api/users", fields{"username": "ada", "email": nil}).want(t, 201).int(t, "id")
	s.post(t, "/api/users", fields{"username": "ada", "email": " "}).want(t, 200).has(t, fields{"id": user, "email": nil})
	for _, body := range []fields{
		{"dropId": drop, "userId": user, "userName": "", "email": "", "size": ""},
		{"dropId": drop, "userId": user, "userName": "  ", "email": "\t", "size": " "},
		{"dropId": drop, "userName": "ada", "email": "", "size": ""},
		{"dropId": drop, "userId": user, "size": nil},
		{"dropId": drop, "userId": user, "userName": nil, "email": nil},
		{"dropId": drop, "userId": nil, "userName": "ada", "email": nil, "size": nil},
	} {
		s.post(t, "/api/drops/reserve", body).want(t, 201).has(t, fields{"UserId": user, "size": nil})
	}
	s.drop(t, fields{"total_stock": nil, "sizes": []fields{{"size": "42", "stock": 1}}})
}

func TestReserveAndPurchase(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) { w.noWriter = true })
	drop, user := s.drop(t, nil), s.user(t, "ada")

	r := s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": user}).want(t, 201)
	id := r.int(t, "id")
	r.has(t, fields{"UserId": user, "DropId": drop, "status": "active", "size": nil})
	isTime(t, r.body["created_at"], time.Now())
	isTime(t, r.body["expires_at"], time.Now().Add(time.Minute))
	if id >= 1<<53 {
		t.Errorf("id %d is not exact in JavaScript", id)
	}
	s.wantStock(t, drop, 9, 1, 0)
	active := s.reservation(t, id)
	if string(active.raw) != string(r.raw) {
		t.Errorf("looked up: %s\nreserved:  %s", active.raw, r.raw)
	}

	first := s.purchase(t, id).want(t, 201).has(t, fields{"message": "Purchase successful"})
	p := reply{body: first.body["purchase"].(map[string]any), raw: first.raw}
	p.has(t, fields{
		"id": id, "UserId": user, "DropId": drop, "reservationId": id, "size": nil, "persisted": "accepted",
	})
	isTime(t, p.body["purchased_at"], time.Now())
	second := s.purchase(t, id).want(t, 200)
	if string(first.raw) != string(second.raw) {
		t.Errorf("receipts differ:\n%s\n%s", first.raw, second.raw)
	}
	s.wantStock(t, drop, 9, 0, 1)

	s.reservation(t, id).has(t, fields{"status": "completed", "persisted": "accepted", "UserId": user, "ended_at": p.body["purchased_at"]})
	s.startWriter(t)
	s.become(t, id, "persisted", "confirmed").has(t, fields{
		"status": "completed", "UserId": user, "DropId": drop, "size": nil, "ended_at": p.body["purchased_at"],
		"created_at": r.body["created_at"], "expires_at": r.body["expires_at"],
	})
	third := s.purchase(t, id).want(t, 200)
	if string(first.raw) != string(third.raw) {
		t.Errorf("receipts differ once confirmed:\n%s\n%s", first.raw, third.raw)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) { w.noWriter = true })
	drop, user := s.drop(t, nil), s.user(t, "ada")
	id := s.hold(t, drop, user)
	first := s.cancel(t, id).want(t, 200).has(t, fields{"id": id, "UserId": user, "DropId": drop, "status": "cancelled"})
	isTime(t, first.body["ended_at"], time.Now())
	second := s.cancel(t, id).want(t, 200)
	if string(first.raw) != string(second.raw) {
		t.Errorf("answers differ:\n%s\n%s", first.raw, second.raw)
	}
	s.wantStock(t, drop, 10, 0, 0)
	s.purchase(t, id).refused(t, 410, "reservation_cancelled", "Reservation cancelled")
	s.reservation(t, id).has(t, first.body)
	s.startWriter(t)
	s.inHistory(t, id)
	s.reservation(t, id).has(t, first.body)
	s.cancel(t, id).want(t, 200).has(t, first.body)
}

func TestLapsedHold(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) { w.noWriter = true })
	drop, user := s.drop(t, fields{"hold_seconds": 0.25}), s.user(t, "ada")
	r := s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": user, "size": "42"}).want(t, 201)
	id := r.int(t, "id")
	s.become(t, id, "status", "expired").has(t, fields{"id": id, "DropId": drop})
	s.purchase(t, id).refused(t, 410, "reservation_expired", "Reservation expired")
	s.cancel(t, id).refused(t, 410, "reservation_expired", "Reservation expired")
	s.wantStock(t, drop, 10, 0, 0)
	s.startWriter(t)
	s.inHistory(t, id)
	past := s.reservation(t, id).has(t, fields{
		"id": id, "UserId": user, "DropId": drop, "size": "42", "status": "expired",
		"created_at": r.body["created_at"], "expires_at": r.body["expires_at"],
	})
	isTime(t, past.body["ended_at"], time.Now())
	s.purchase(t, id).refused(t, 410, "reservation_expired", "Reservation expired")
}

func TestGuests(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop := s.drop(t, nil)
	who := func(name, email any) int64 {
		t.Helper()
		return s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userName": name, "email": email}).want(t, 201).int(t, "UserId")
	}
	ada := who("ada", "Ada@Example.com")
	if other := who("Countess", "ada@example.COM"); other != ada {
		t.Errorf("user %d by the same email in other letters, want %d", other, ada)
	}
	bob := who("bob", nil)
	if other := who("bob", nil); other != bob {
		t.Errorf("user %d by the same name, want %d", other, bob)
	}
	if bob == ada || who("ada", nil) == ada {
		t.Error("people without email are taken for others who have one")
	}
	s.get(t, fmt.Sprint("/api/users/", ada)).want(t, 200).has(t, fields{"id": ada, "username": "ada", "email": "Ada@Example.com"})
	s.post(t, "/api/users", fields{"username": "x", "email": "ADA@example.com"}).want(t, 200).has(t, fields{"id": ada, "username": "ada"})
	u := s.post(t, "/api/users", fields{"username": "grace"}).want(t, 201).has(t, fields{"username": "grace", "email": nil})
	isTime(t, u.body["created_at"], time.Now())
	s.post(t, "/api/users", fields{"username": "grace"}).want(t, 200).has(t, fields{"id": u.body["id"]})
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drop, ada, bob := s.drop(t, nil), s.user(t, "ada"), s.user(t, "bob")
	body := fields{"dropId": drop, "userId": ada, "size": "42"}
	first := s.post(t, "/api/drops/reserve", body, "Idempotency-Key", "k 1").want(t, 201)
	if first.header.Get("Idempotency-Replayed") != "" {
		t.Error("the first call says that it is a replay")
	}
	second := s.post(t, "/api/drops/reserve", body, "Idempotency-Key", "k 1").want(t, 201)
	if second.header.Get("Idempotency-Replayed") != "true" || string(second.raw) != string(first.raw) {
		t.Errorf("replayed %q:\n%s\n%s", second.header.Get("Idempotency-Replayed"), first.raw, second.raw)
	}
	s.wantStock(t, drop, 9, 1, 0)
	s.leavesNoTrace(t, func() {
		for _, other := range []fields{{"userId": bob}, {"size": "43"}, {"size": absent}} {
			s.post(t, "/api/drops/reserve", with(body, other), "Idempotency-Key", "k 1").
				refused(t, 422, "idempotency_conflict", "Idempotency-Key was used for another request")
		}
	})
	s.post(t, "/api/drops/reserve", body, "Idempotency-Key", strings.Repeat("~", 128)).want(t, 201)
	s.wantStock(t, drop, 8, 2, 0)
}

func TestSizes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	sized := s.drop(t, fields{"total_stock": 3, "sizes": []fields{{"size": "42", "stock": 1}, {"size": "43", "stock": 2}}})
	pool, user := s.drop(t, nil), s.user(t, "ada")
	id := s.post(t, "/api/drops/reserve", fields{"dropId": sized, "userId": user, "size": "42"}).
		want(t, 201).has(t, fields{"size": "42"}).int(t, "id")
	s.leavesNoTrace(t, func() {
		s.post(t, "/api/drops/reserve", fields{"dropId": sized, "userId": user, "size": "42"}).refused(t, 400, "out_of_stock", "Out of stock")
		s.post(t, "/api/drops/reserve", fields{"dropId": sized, "userId": user}).invalid(t, "size")
		s.post(t, "/api/drops/reserve", fields{"dropId": sized, "userId": user, "size": ""}).invalid(t, "size")
		s.post(t, "/api/drops/reserve", fields{"dropId": sized, "userId": user, "size": "44"}).invalid(t, "size")
	})
	receipt := s.purchase(t, id).want(t, 201)
	reply{body: receipt.body["purchase"].(map[string]any)}.has(t, fields{"size": "42"})
	s.get(t, fmt.Sprint("/api/drops/", sized)).want(t, 200).has(t, fields{"sizes": []fields{
		{"available_stock": 0, "held": 0, "size": "42", "sold": 1, "stock": 1},
		{"available_stock": 2, "held": 0, "size": "43", "sold": 0, "stock": 2},
	}})
	// Without sizes, one that is given is kept.
	kept := s.post(t, "/api/drops/reserve", fields{"dropId": pool, "userId": user, "size": "XL"}).want(t, 201)
	s.reservation(t, kept.int(t, "id")).has(t, fields{"size": "XL"})
	s.wantStock(t, pool, 9, 1, 0)
}

func TestNewestBuyersAndPages(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	drops := make([]int64, 0, 5)
	for range 5 {
		drops = append(drops, s.drop(t, nil))
	}
	purchases := make([]int64, 0, 4)
	for _, name := range []string{"ada", "bob", "cyd", "dan"} {
		id := s.hold(t, drops[0], s.user(t, name))
		s.purchase(t, id).want(t, 201)
		s.become(t, id, "persisted", "confirmed")
		purchases = append(purchases, id)
	}
	s.get(t, fmt.Sprint("/api/drops/", drops[0])).want(t, 200).has(t, fields{"Purchases": []fields{
		{"User": fields{"username": "dan"}, "id": purchases[3]},
		{"User": fields{"username": "cyd"}, "id": purchases[2]},
		{"User": fields{"username": "bob"}, "id": purchases[1]},
	}})
	page := func(query string) (ids []int64) {
		t.Helper()
		var list []struct {
			ID        int64
			Purchases []struct{ User struct{ Username string } }
		}
		r := s.get(t, "/api/drops"+query).want(t, 200)
		must(t, json.Unmarshal(r.raw, &list))
		for _, d := range list {
			if ids = append(ids, d.ID); d.ID == drops[0] && (len(d.Purchases) != 3 || d.Purchases[0].User.Username != "dan") {
				t.Errorf("buyers %+v in %s", d.Purchases, query)
			}
		}
		return ids
	}
	for query, want := range map[string][]int64{
		"":                                       {drops[4], drops[3], drops[2], drops[1], drops[0]},
		"?limit=2":                               {drops[4], drops[3]},
		"?limit=1000":                            {drops[4], drops[3], drops[2], drops[1], drops[0]},
		fmt.Sprint("?limit=2&before=", drops[3]): {drops[2], drops[1]},
		fmt.Sprint("?before=", drops[1]):         {drops[0]},
		fmt.Sprint("?before=", drops[0]):         nil,
	} {
		if got := page(query); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("page %q is %v, want %v", query, got, want)
		}
	}
}

func TestBuyersAreConfigurable(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) { w.api = func(c *api.Config) { c.Buyers = 1 } })
	drop := s.drop(t, nil)
	for _, name := range []string{"ada", "bob"} {
		id := s.hold(t, drop, s.user(t, name))
		s.purchase(t, id).want(t, 201)
		s.become(t, id, "persisted", "confirmed")
	}
	r := s.get(t, fmt.Sprint("/api/drops/", drop)).want(t, 200)
	if got := r.body["Purchases"].([]any); len(got) != 1 {
		t.Errorf("buyers %v, want one", got)
	}
}
