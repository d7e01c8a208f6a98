package api_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestDeadDeliveries(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.get(t, "/api/admin/webhooks/dead").want(t, 200).has(t, fields{"deliveries": []any{}})
	db, err := pgx.Connect(t.Context(), s.env.DatabaseURL)
	must(t, err)
	defer func() { must(t, db.Close(t.Context())) }()
	_, err = db.Exec(t.Context(), `
		WITH events AS (
			INSERT INTO webhook_outbox (id, type, drop_id, reservation_id, user_id, size, occurred_at)
			SELECT 'purchase_' || i, 'purchase.completed', 7, i, 42, '', now() FROM generate_series(1, 4) AS i RETURNING id)
		INSERT INTO webhook_deliveries (event_id, url, state, attempts, last_error, ended_at)
		SELECT id, 'https://a.example/', CASE id WHEN 'purchase_4' THEN 'waiting' ELSE 'dead' END, 16, 'answered 500', now()
		FROM events ORDER BY id`)
	must(t, err)

	page := func(query string) (events []any, ids []int64) {
		t.Helper()
		r := s.get(t, "/api/admin/webhooks/dead"+query).want(t, 200)
		for _, d := range r.body["deliveries"].([]any) {
			one := reply{body: d.(map[string]any), raw: r.raw}
			one.has(t, fields{"type": "purchase.completed", "url": "https://a.example/", "attempts": 16, "last_error": "answered 500"})
			isTime(t, one.body["occurred_at"], time.Now())
			isTime(t, one.body["given_up_at"], time.Now())
			events, ids = append(events, one.body["event"]), append(ids, one.int(t, "id"))
		}
		return events, ids
	}
	events, ids := page("")
	if fmt.Sprint(events) != "[purchase_3 purchase_2 purchase_1]" {
		t.Fatalf("dead: %v", events)
	}
	if events, _ := page(fmt.Sprintf("?limit=1&before=%d", ids[0])); fmt.Sprint(events) != "[purchase_2]" {
		t.Errorf("second page: %v", events)
	}
	again := fmt.Sprintf("/api/admin/webhooks/%d/resend", ids[1])
	s.post(t, again, fields{}).want(t, 200).has(t, fields{"id": ids[1], "state": "waiting"})
	if events, _ := page(""); fmt.Sprint(events) != "[purchase_3 purchase_1]" {
		t.Errorf("after one was resent: %v", events)
	}
	for _, id := range []string{"999", "0", "9007199254740992"} {
		s.post(t, "/api/admin/webhooks/"+id+"/resend", fields{}).refused(t, 404, "delivery_not_found", "Delivery not found")
	}
	s.post(t, "/api/admin/webhooks/x/resend", fields{}).invalid(t, "id")
	s.get(t, "/api/admin/webhooks/dead?limit=0").invalid(t, "limit")
	s.get(t, "/api/admin/webhooks/dead?before=x").invalid(t, "before")
	s.get(t, again).refused(t, 405, "method_not_allowed", "Method not allowed")
}
