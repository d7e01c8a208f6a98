package persist

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Event is something that receivers of webhooks are told.
type Event struct {
	ID          string // the same in every delivery, for ever
	Type        string
	Drop        int64
	Reservation int64 // zero of a drop's event, as are User, Size, Created and Deadline
	User        int64
	Size        string
	Created     time.Time // of an expired reservation, as is Deadline
	Deadline    time.Time
	TotalStock  int64 // of a drop that sold out
	Occurred    time.Time
}

// DeliveryState is how far a delivery has come.
type DeliveryState string

// The states of a delivery.
const (
	DeliveryWaiting DeliveryState = "waiting"
	DeliveryDone    DeliveryState = "delivered"
	DeliveryDead    DeliveryState = "dead" // given up
)

// Delivery is an event on its way to one receiver.
type Delivery struct {
	Event
	ID       int64
	URL      string
	State    DeliveryState
	Attempts int
	Error    string // of the last attempt that failed
	Written  time.Time
	Ended    time.Time // zero while it waits
}

// delivery is the SQL of a Delivery's columns, of d and o.
const delivery = `d.id, d.url, d.state, d.attempts, coalesce(d.last_error, ''), d.created_at, d.ended_at,
	o.id, o.type, o.drop_id, coalesce(o.reservation_id, 0), coalesce(o.user_id, 0), coalesce(o.size, ''),
	o.created_at, o.deadline, coalesce(o.total_stock, 0), o.occurred_at`

func scanDelivery(row pgx.CollectableRow) (d Delivery, err error) {
	var ended, created, deadline *time.Time
	err = row.Scan(&d.ID, &d.URL, &d.State, &d.Attempts, &d.Error, &d.Written, &ended,
		&d.Event.ID, &d.Type, &d.Drop, &d.Reservation, &d.User, &d.Size, &created, &deadline, &d.TotalStock, &d.Occurred)
	for from, to := range map[**time.Time]*time.Time{&ended: &d.Ended, &created: &d.Created, &deadline: &d.Deadline} {
		if *from != nil {
			*to = (*from).UTC()
		}
	}
	d.Written, d.Occurred = d.Written.UTC(), d.Occurred.UTC()
	return d, err
}

// ClaimDeliveries gives at most n deliveries to the URL that are due, those that
// have been for longest first, each with its attempt counted. Nobody else gets
// them before lease is over.
func (s *Store) ClaimDeliveries(ctx context.Context, url string, n int, lease time.Duration) ([]Delivery, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, `
		WITH due AS (
			SELECT id FROM webhook_deliveries
			WHERE state = 'waiting' AND url = $1 AND next_at <= now()
			ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED)
		UPDATE webhook_deliveries AS d
		SET attempts = d.attempts + 1, next_at = now() + $3 * interval '1 millisecond'
		FROM due, webhook_outbox AS o
		WHERE d.id = due.id AND o.id = d.event_id
		RETURNING `+delivery, url, n, lease.Milliseconds())
	if err != nil {
		return nil, wrap("claim deliveries", err)
	}
	list, err := pgx.CollectRows(rows, scanDelivery)
	return list, wrap("claim deliveries", err)
}

// Attempt is what came of one attempt at a delivery.
type Attempt struct {
	Delivery int64
	Number   int // Attempts as it was claimed
	// State is DeliveryWaiting where it is to be tried again.
	State DeliveryState
	Wait  time.Duration // until then
	Void  bool          // it does not count
	Error string        // empty for one that succeeded
}

// SettleDeliveries keeps what came of attempts. A failure counts only while no
// other attempt has begun, a success always.
func (s *Store) SettleDeliveries(ctx context.Context, attempts []Attempt) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	attempts = slices.Clone(attempts)
	slices.SortFunc(attempts, func(a, b Attempt) int { return cmp.Compare(a.Delivery, b.Delivery) })
	n := len(attempts)
	ids, numbers, voids, waits := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	states, errs := make([]string, n), make([]string, n)
	for i, a := range attempts {
		ids[i], numbers[i], waits[i] = a.Delivery, int64(a.Number), a.Wait.Milliseconds()
		states[i], errs[i] = string(a.State), a.Error
		if a.Void {
			voids[i] = 1
		}
	}
	_, err := s.pool.Exec(ctx, `
		UPDATE webhook_deliveries AS d
		SET state = a.state, attempts = d.attempts - a.void, last_error = nullif(a.error, ''),
			next_at = now() + a.wait * interval '1 millisecond',
			ended_at = CASE WHEN a.state <> 'waiting' THEN now() END
		FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::text[])
			AS a (id, number, state, wait, void, error)
		WHERE d.id = a.id AND d.state <> 'delivered'
			AND (a.state = 'delivered' OR d.state = 'waiting' AND d.attempts = a.number)`,
		ids, numbers, states, waits, voids, errs)
	return wrap("settle deliveries", err)
}

// maxDead is the most dead deliveries in one answer.
const maxDead = 1000

// DeadDeliveries lists deliveries that were given up, the newest first: at most
// limit, and at most 1,000, with an id below before, if that is not zero.
func (s *Store) DeadDeliveries(ctx context.Context, limit int, before int64) ([]Delivery, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, `
		SELECT `+delivery+`
		FROM webhook_deliveries AS d JOIN webhook_outbox AS o ON o.id = d.event_id
		WHERE d.state = 'dead' AND ($2::bigint = 0 OR d.id < $2::bigint)
		ORDER BY d.id DESC LIMIT $1`, min(limit, maxDead), before)
	if err != nil {
		return nil, wrap("list dead deliveries", err)
	}
	list, err := pgx.CollectRows(rows, scanDelivery)
	return list, wrap("list dead deliveries", err)
}

// resent makes a delivery as if it had never been tried.
const resent = `UPDATE webhook_deliveries SET state = 'waiting', attempts = 0, next_at = now(), ended_at = NULL `

// Resend has a delivery sent once more, at once and with all its tries, whatever
// became of it. Returns ErrNotFound.
func (s *Store) Resend(ctx context.Context, id int64) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	tag, err := s.pool.Exec(ctx, resent+`WHERE id = $1`, id)
	if err == nil && tag.RowsAffected() == 0 {
		err = pgx.ErrNoRows
	}
	return wrap(fmt.Sprintf("resend delivery %d", id), err)
}

// ResendDead does the same with all deliveries that were given up, and says how
// many.
func (s *Store) ResendDead(ctx context.Context) (n int64, err error) {
	for {
		some, err := s.resendDead(ctx)
		if n += some; err != nil || some < tidyStep {
			return n, err
		}
	}
}

func (s *Store) resendDead(ctx context.Context) (int64, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	tag, err := s.pool.Exec(ctx, resent+`WHERE id IN (
		SELECT id FROM webhook_deliveries WHERE state = 'dead' ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)`, tidyStep)
	return tag.RowsAffected(), wrap("resend dead deliveries", err)
}

// DeliveryCount is what waits for one receiver, and what was given up.
type DeliveryCount struct {
	URL     string
	Waiting int64
	Oldest  time.Duration // age of the oldest that waits
	Dead    int64
}

// DeliveryCounts counts by receiver. Those that have nothing are left out.
func (s *Store) DeliveryCounts(ctx context.Context) ([]DeliveryCount, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, `
		SELECT url, count(*) FILTER (WHERE state = 'waiting'),
			coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE state = 'waiting')), 0)::float8,
			count(*) FILTER (WHERE state = 'dead')
		FROM webhook_deliveries WHERE state = 'waiting' OR state = 'dead' GROUP BY url ORDER BY url`)
	if err != nil {
		return nil, wrap("count deliveries", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c DeliveryCount, err error) {
		var seconds float64
		err = row.Scan(&c.URL, &c.Waiting, &seconds, &c.Dead)
		c.Oldest = time.Duration(seconds * float64(time.Second))
		return c, err
	})
	return list, wrap("count deliveries", err)
}

// tidyStep is the most rows that one call changes, so that it is short.
const tidyStep = 1000

// AbandonDeliveries gives up what has waited for longer than patience for
// receivers that are none of urls: nobody sends to them any more. It does at most
// 1,000 a call, and says how many.
func (s *Store) AbandonDeliveries(ctx context.Context, urls []string, patience time.Duration) (int64, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	tag, err := s.pool.Exec(ctx, `
		UPDATE webhook_deliveries SET state = 'dead', ended_at = now(), last_error = 'the receiver is not configured any more'
		WHERE id IN (
			SELECT id FROM webhook_deliveries
			WHERE state = 'waiting' AND url <> ALL ($1::text[]) AND greatest(created_at, next_at) < now() - $2 * interval '1 millisecond'
			LIMIT $3 FOR UPDATE SKIP LOCKED)`, urls, patience.Milliseconds(), tidyStep)
	return tag.RowsAffected(), wrap("abandon deliveries", err)
}

// ForgetEvents removes events of which every delivery was made, or given up,
// longer ago than made and dead. It does at most 1,000 a call, and says how many.
func (s *Store) ForgetEvents(ctx context.Context, made, dead time.Duration) (int64, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	tag, err := s.pool.Exec(ctx, `
		DELETE FROM webhook_outbox WHERE id IN (
			SELECT o.id FROM webhook_outbox AS o
			WHERE o.written_at <= now() - least($1::bigint, $2::bigint) * interval '1 millisecond'
				AND NOT EXISTS (
					SELECT FROM webhook_deliveries AS d
					WHERE d.event_id = o.id AND (d.ended_at IS NULL OR
						d.ended_at > now() - CASE d.state WHEN 'dead' THEN $2::bigint ELSE $1::bigint END * interval '1 millisecond'))
			ORDER BY o.written_at LIMIT $3 FOR UPDATE SKIP LOCKED)`, made.Milliseconds(), dead.Milliseconds(), tidyStep)
	return tag.RowsAffected(), wrap("forget events", err)
}
