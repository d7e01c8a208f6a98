package persist

// The events that receivers of webhooks can hear of.
const (
	EventPurchaseCompleted  = "purchase.completed"
	EventReservationExpired = "reservation.expired"
	EventDropSoldOut        = "drop.sold_out"
)

// EventTypes are all of them.
func EventTypes() []string {
	return []string{EventPurchaseCompleted, EventReservationExpired, EventDropSoldOut}
}

// Subscription is a receiver of webhooks and the events that it hears of.
type Subscription struct {
	URL    string
	Events []string
}

// outbox adds to the statements of writeEnds what receivers are to be told, so
// that it is committed with what it tells of, or not at all. Since it goes by
// the rows really inserted, a record that arrives again is not told of again.
// The zero value adds nothing.
type outbox struct {
	urls, events []string // pairs
}

func newOutbox(subscriptions []Subscription) outbox {
	var o outbox
	for _, s := range subscriptions {
		for _, event := range s.Events {
			o.urls, o.events = append(o.urls, s.URL), append(o.events, event)
		}
	}
	return o
}

// args are arguments of a statement with those of the outbox after them.
func (o outbox) args(args ...any) []any {
	if len(o.urls) == 0 {
		return args
	}
	return append(args, o.urls, o.events)
}

// also is SQL that only an outbox with subscriptions needs.
func (o outbox) also(sql string) string {
	if len(o.urls) == 0 {
		return ""
	}
	return sql
}

// expired follows the reservations added; its arguments are $9 and $10.
const expired = `,
		events AS (
			INSERT INTO webhook_outbox (id, type, drop_id, reservation_id, user_id, size, created_at, deadline, occurred_at)
			SELECT 'expired_' || id, '` + EventReservationExpired + `', drop_id, id, user_id, size, created_at, deadline, ended_at
			FROM added
			WHERE status = 'expired' AND '` + EventReservationExpired + `' = ANY ($10::text[])
			ON CONFLICT (id) DO NOTHING
			RETURNING id, type),
		deliveries AS (
			INSERT INTO webhook_deliveries (event_id, url)
			SELECT e.id, s.url FROM events AS e JOIN unnest($9::text[], $10::text[]) AS s (url, type) ON s.type = e.type
			ON CONFLICT (event_id, url) DO NOTHING)`

// purchased follows the purchases added and the sizes counted; its arguments
// are $6 and $7. A drop is sold out where its last unit is among them, of those too
// that a change under way adds; what else that change does to it confirmChange sees. The
// sizes that did not change are as they were, since all of the drop are locked. The
// event's id has the total, and the newest change: a total may come back.
const purchased = `,
		sold_out AS (
			SELECT drop_id, sum(stock)::bigint AS total FROM (
				SELECT drop_id, sold, stock FROM counted
				UNION ALL
				SELECT s.drop_id, s.sold, s.total_stock + s.coming FROM drop_sizes AS s
				WHERE s.drop_id IN (SELECT drop_id FROM counted)
					AND NOT EXISTS (SELECT FROM counted AS c WHERE c.drop_id = s.drop_id AND c.size = s.size)) AS sizes
			GROUP BY drop_id HAVING sum(sold) = sum(stock)),
		news AS (
			SELECT 'purchase_' || id AS id, '` + EventPurchaseCompleted + `' AS type, drop_id, id AS reservation_id,
				user_id, size, NULL::bigint AS total, purchased_at AS occurred_at
			FROM added
			UNION ALL
			SELECT 'sold_out_' || drop_id || '_' || total || '_' || (SELECT change FROM drops WHERE id = drop_id), '` + EventDropSoldOut + `', drop_id, NULL, NULL, NULL, total, now()
			FROM sold_out),
		events AS (
			INSERT INTO webhook_outbox (id, type, drop_id, reservation_id, user_id, size, total_stock, occurred_at)
			SELECT * FROM news WHERE type = ANY ($7::text[])
			ON CONFLICT (id) DO NOTHING
			RETURNING id, type),
		deliveries AS (
			INSERT INTO webhook_deliveries (event_id, url)
			SELECT e.id, s.url FROM events AS e JOIN unnest($6::text[], $7::text[]) AS s (url, type) ON s.type = e.type
			ON CONFLICT (event_id, url) DO NOTHING)`
