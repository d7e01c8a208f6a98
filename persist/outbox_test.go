package persist_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// subscribed is a change of a writer's configuration.
func subscribed(subscriptions ...persist.Subscription) func(*persist.WriterConfig) {
	return func(c *persist.WriterConfig) { c.Webhooks = subscriptions }
}

// everything hears of all events, at allURL.
func everything() persist.Subscription {
	return persist.Subscription{URL: allURL, Events: persist.EventTypes()}
}

const allURL = "https://a.example/"

// events are the ids in the outbox that are on their way to the URL.
func (e *env) events(url string) []string {
	e.Helper()
	rows, err := e.sql.Query(e.Context(), `SELECT event_id FROM webhook_deliveries WHERE url = $1 ORDER BY event_id`, url)
	must(e, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(e, err)
	return ids
}

// tells fails unless exactly these are.
func (e *env) tells(url string, want ...string) {
	e.Helper()
	slices.Sort(want)
	if got := e.events(url); !slices.Equal(got, want) {
		e.Errorf("on their way to %s:\n%q, want\n%q", url, got, want)
	}
}

func eventID(kind string, drop, seq int64) string {
	return fmt.Sprintf("%s_%d", kind, engine.ReservationID(drop, seq))
}

func TestEventsAreWrittenWithWhatTheyTellOf(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Size: "42", Stock: 2}, engine.SizeStock{Size: "43", Stock: 1})
	user := e.user()
	sales := persist.Subscription{URL: "https://b.example/", Events: []string{persist.EventDropSoldOut, persist.EventPurchaseCompleted}}
	lapses := persist.Subscription{URL: "https://c.example/", Events: []string{persist.EventReservationExpired}}
	w := e.writer("one", subscribed(everything(), sales, lapses))
	e.add(d.ID, rec("p", d.ID, 1, user, "42"), rec("x", d.ID, 2, user, "43"), rec("c", d.ID, 3, user, "42"))
	e.drain(w)
	first, lapsed := eventID("purchase", d.ID, 1), eventID("expired", d.ID, 2)
	e.tells(allURL, first, lapsed)
	e.tells(sales.URL, first)
	e.tells(lapses.URL, lapsed)

	// The last unit, of whatever size.
	e.add(d.ID, rec("p", d.ID, 4, user, "43"))
	e.drain(w)
	e.tells(sales.URL, first, eventID("purchase", d.ID, 4))
	e.add(d.ID, rec("p", d.ID, 5, user, "42"), rec("x", d.ID, 6, user, "43"))
	e.drain(w)
	soldOut := soldOutID(d.ID, 3, 0)
	e.tells(sales.URL, first, eventID("purchase", d.ID, 4), eventID("purchase", d.ID, 5), soldOut)

	list, err := e.store.ClaimDeliveries(t.Context(), allURL, 100, time.Minute)
	must(t, err)
	for _, d := range list {
		switch d.Event.ID {
		case lapsed:
			if d.Type != persist.EventReservationExpired || d.User != user || d.Size != "43" || d.Reservation != engine.ReservationID(d.Drop, 2) ||
				d.Deadline.Sub(d.Created) != 61*time.Second || d.Occurred.UnixMilli() != 1_800_000_000_002 {
				t.Errorf("lapsed: %+v", d)
			}
		case first:
			if d.Type != persist.EventPurchaseCompleted || d.User != user || d.Size != "42" || d.Occurred.UnixMilli() != 1_800_000_000_001 {
				t.Errorf("purchased: %+v", d)
			}
		case soldOut:
			if d.Type != persist.EventDropSoldOut || d.TotalStock != 3 || d.Reservation != 0 || time.Since(d.Occurred).Abs() > time.Minute {
				t.Errorf("sold out: %+v", d)
			}
		}
	}

	// More stock, and sold out once more.
	_, err = e.sql.Exec(t.Context(), `UPDATE drop_sizes SET total_stock = 2 WHERE size = '43'`)
	must(t, err)
	e.add(d.ID, rec("p", d.ID, 7, user, "43"))
	e.drain(w)
	e.tells(sales.URL, first, eventID("purchase", d.ID, 4), eventID("purchase", d.ID, 5), soldOut,
		eventID("purchase", d.ID, 7), soldOutID(d.ID, 4, 0))
}

// What arrives again is not told of again, also when the outbox has forgotten it.
func TestEventsOfReplaysAreNotRepeated(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Stock: 2})
	user := e.user()
	records := []string{rec("p", d.ID, 1, user, ""), rec("p", d.ID, 2, user, ""), rec("x", d.ID, 3, user, "")}
	dying := e.redisClient(noAck{})
	w := e.writer("dying", func(c *persist.WriterConfig) {
		c.Ledger, c.Webhooks = e.ledger(dying, "dying"), []persist.Subscription{everything()}
	})
	e.add(d.ID, records...)
	e.eventually("the commit", func() bool { return e.count(`SELECT count(*) FROM purchases`) == 2 })
	must(t, w.Stop(t.Context()))
	want := []string{eventID("purchase", d.ID, 1), eventID("purchase", d.ID, 2), eventID("expired", d.ID, 3), soldOutID(d.ID, 2, 0)}
	e.tells(allURL, want...)
	heir := e.writer("heir", subscribed(everything()))
	e.drain(heir)
	e.tells(allURL, want...)

	_, err := e.sql.Exec(t.Context(), `DELETE FROM webhook_outbox`)
	must(t, err)
	e.add(d.ID, records...)
	e.drain(heir)
	e.tells(allURL)
}

// Neither is there without the other.
func TestEventsAreInTheSameTransaction(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Stock: 2})
	user := e.user()
	w := e.writer("one", subscribed(everything()))
	// A purchase that Postgres refuses is not told of …
	e.add(d.ID, rec("p", d.ID, 1, user, ""), rec("p", d.ID, 2, user, ""), rec("p", d.ID, 3, user, ""), rec("p", d.ID, 4, user+999, ""))
	e.drain(w)
	e.counted(d.ID, "", 2)
	e.tells(allURL, eventID("purchase", d.ID, 1), eventID("purchase", d.ID, 2), soldOutID(d.ID, 2, 0))

	// … and what cannot be told of is not purchased.
	other := e.drop(engine.SizeStock{Stock: 2})
	_, err := e.sql.Exec(t.Context(), `ALTER TABLE webhook_deliveries ADD CONSTRAINT none CHECK (event_id NOT LIKE 'purchase_%') NOT VALID`)
	must(t, err)
	refused := rec("p", other.ID, 1, user, "")
	e.add(other.ID, refused, rec("x", other.ID, 2, user, ""))
	e.drain(w)
	e.counted(other.ID, "", 0)
	if dead := e.dead(other.ID); !slices.Equal(dead, []string{refused}) {
		t.Errorf("dead letters %q", dead)
	}
	if n := e.count(`SELECT count(*) FROM webhook_outbox WHERE drop_id = $1`, other.ID); n != 1 {
		t.Errorf("%d events of the other drop, want that of the lapse alone", n)
	}
}

// Two writers sell the sizes of one drop: one of them sells the last unit.
func TestSoldOutIsToldOnceByManyWriters(t *testing.T) {
	e := newEnv(t)
	const stock = 200
	d := e.drop(engine.SizeStock{Size: "42", Stock: stock}, engine.SizeStock{Size: "43", Stock: stock})
	user := e.user()
	writers := make([]*persist.Writer, 0, 3)
	for _, name := range []string{"one", "two", "three"} {
		writers = append(writers, e.writer(name, func(c *persist.WriterConfig) {
			c.Batch, c.Webhooks = 7, []persist.Subscription{everything()}
		}))
	}
	for seq := int64(1); seq <= 2*stock; seq++ {
		e.add(d.ID, rec("p", d.ID, seq, user, []string{"42", "43"}[seq%2]))
	}
	e.drain(writers[0])
	e.counted(d.ID, "42", stock)
	if n := e.count(`SELECT count(*) FROM webhook_deliveries WHERE event_id LIKE 'purchase_%'`); n != 2*stock {
		t.Errorf("%d purchases are told of, want %d", n, 2*stock)
	}
	if n := e.count(`SELECT count(*) FROM webhook_deliveries WHERE event_id LIKE 'sold_out_%'`); n != 1 {
		t.Errorf("sold out is told %d times", n)
	}
}

func TestWithoutWebhooksNothingIsKept(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Stock: 1})
	w := e.writer("one", nil)
	e.add(d.ID, rec("p", d.ID, 1, e.user(), ""))
	e.drain(w)
	e.counted(d.ID, "", 1)
	if n := e.count(`SELECT count(*) FROM webhook_outbox`); n != 0 {
		t.Errorf("%d events in the outbox", n)
	}
}
