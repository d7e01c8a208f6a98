package persist

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/engine"
)

// Change is what is wanted of a drop. What is nil or empty stays as it is.
type Change struct {
	State      engine.State `json:"state,omitempty"`
	Start      *time.Time   `json:"start,omitempty"`
	End        *time.Time   `json:"end,omitempty"`         // the zero time: open end
	Limit      *int64       `json:"limit,omitempty"`       // engine.NoLimit: none
	PriceMinor *int64       `json:"price_minor,omitempty"` // only before the start
	Stock      []SizeAdd    `json:"stock,omitempty"`
}

// SizeAdd adds units to a size; a negative number takes them away, of those
// that are available.
type SizeAdd struct {
	Size string `json:"size"` // empty on a drop without sizes
	Add  int64  `json:"add"`
}

// ErrTooMuch says that the drop would have more units than one may have.
var ErrTooMuch = fmt.Errorf("stock would be over %d", engine.MaxStock)

// wanted is a change as it is kept: the stock in totals, so that to make it
// twice is to make it once.
type wanted struct {
	Change // Stock is empty
	Totals []engine.SizeStock
}

// underWay is a change that was begun.
type underWay struct {
	drop, number int64
	wanted       wanted
	before       actTerms
	by           By
	begun        time.Time
	outcome      string // empty: not decided, as far as Postgres knows
}

func (u *underWay) engineChange() engine.Change {
	w := u.wanted
	return engine.Change{
		Number: u.number, Mark: strconv.FormatInt(u.begun.UnixMicro(), 10), State: w.State, Start: w.Start, End: w.End, Limit: w.Limit,
		BeforeStart: w.PriceMinor != nil, Totals: w.Totals,
	}
}

// errOtherUnderWay says that another change has to be finished first.
var errOtherUnderWay = errors.New("another change of the drop is under way")

// beginChange writes a change down, or finds the one that the key began. With
// errOtherUnderWay it gives the one that is in the way.
//
// Locks are taken in the order of the writers: sizes, then the drop.
func (s *Store) beginChange(ctx context.Context, drop int64, c Change, by By, key string) (u underWay, replayed bool, err error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		row, err := lockDrop(ctx, tx, drop)
		if err != nil {
			return err
		}
		digest, err := c.digest()
		if err != nil {
			return err
		}
		if key != "" {
			var asked string
			u, asked, err = readChange(ctx, tx, `drop_id = $1 AND idem_key = $2`, drop, key)
			switch {
			case err == nil && asked != digest:
				return engine.ErrIdempotencyConflict
			case err == nil:
				replayed = true
				return nil
			case !errors.Is(err, pgx.ErrNoRows):
				return err
			}
		}
		u, _, err = readChange(ctx, tx, `drop_id = $1 AND outcome IS NULL`, drop)
		if err == nil {
			return errOtherUnderWay
		} else if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		u, err = row.begin(c, by)
		if err != nil {
			return err
		}
		return u.insert(ctx, tx, row, digest, key)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return u, false, wrap(fmt.Sprintf("change drop %d", drop), err)
	}
	return u, replayed, wrap("begin a change", err)
}

func (c Change) digest() (string, error) {
	text, err := json.Marshal(c)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}

// lockedDrop is a drop that no other change can begin or end on.
type lockedDrop struct {
	id, change int64
	sized      bool
	terms      actTerms
	limit      int64
}

func lockDrop(ctx context.Context, tx pgx.Tx, drop int64) (lockedDrop, error) {
	d := lockedDrop{id: drop}
	rows, err := tx.Query(ctx, `
		SELECT size, total_stock FROM drop_sizes WHERE drop_id = $1::bigint ORDER BY drop_id, size FOR NO KEY UPDATE`, drop)
	if err != nil {
		return d, err
	}
	if d.terms.Sizes, err = pgx.CollectRows(rows, pgx.RowToStructByPos[actSize]); err != nil {
		return d, err
	}
	err = tx.QueryRow(ctx, `
		SELECT change, sized, state, start_time, end_time, limit_per_customer, price_minor
		FROM drops WHERE id = $1::bigint AND opened_at IS NOT NULL FOR NO KEY UPDATE`, drop,
	).Scan(&d.change, &d.sized, &d.terms.State, &d.terms.Start, &d.terms.End, &d.limit, &d.terms.PriceMinor)
	d.terms.Limit, d.terms.Start = LimitOf(d.limit), d.terms.Start.UTC()
	if d.terms.End != nil {
		*d.terms.End = d.terms.End.UTC()
	}
	return d, err
}

// begin turns what is wanted into what is to be there.
func (d lockedDrop) begin(c Change, by By) (underWay, error) {
	u := underWay{drop: d.id, number: d.change + 1, wanted: wanted{Change: c}, before: d.terms, by: by}
	u.wanted.Stock = nil
	if c.Limit != nil && *c.Limit >= engine.NoLimit && d.limit == 0 {
		u.wanted.Limit = nil // it has none
	}
	sum := int64(0)
	for _, s := range d.terms.Sizes {
		sum += s.Stock
	}
	for _, add := range c.Stock {
		i := slices.IndexFunc(d.terms.Sizes, func(s actSize) bool { return s.Size == add.Size })
		switch {
		case i < 0 && d.sized && add.Size == "":
			return u, engine.ErrSizeRequired
		case i < 0:
			return u, engine.ErrUnknownSize
		}
		total := d.terms.Sizes[i].Stock + add.Add
		if total < 0 {
			return u, engine.ErrNotEnough
		}
		sum += add.Add
		u.wanted.Totals = append(u.wanted.Totals, engine.SizeStock{Size: add.Size, Stock: total})
	}
	if sum > engine.MaxStock {
		return u, ErrTooMuch
	}
	return u, nil
}

func (u *underWay) insert(ctx context.Context, tx pgx.Tx, d lockedDrop, digest, key string) error {
	for _, t := range u.wanted.Totals {
		i := slices.IndexFunc(d.terms.Sizes, func(s actSize) bool { return s.Size == t.Size })
		coming := t.Stock - d.terms.Sizes[i].Stock
		if coming <= 0 {
			continue
		}
		_, err := tx.Exec(ctx, `UPDATE drop_sizes SET coming = $3 WHERE drop_id = $1::bigint AND size = $2`, u.drop, t.Size, coming)
		if err != nil {
			return err
		}
	}
	want, err := jsonText(u.wanted)
	if err != nil {
		return err
	}
	before, err := jsonText(u.before)
	if err != nil {
		return err
	}
	return tx.QueryRow(ctx, `
		INSERT INTO drop_changes (drop_id, number, wanted, before, idem_key, asked, who, request_id, address)
		VALUES ($1::bigint, $2, $3::jsonb, $4::jsonb, nullif($5, ''), $6, $7, $8, $9)
		RETURNING begun_at`,
		u.drop, u.number, want, before, key, digest, u.by.Who, u.by.RequestID, u.by.Address,
	).Scan(&u.begun)
}

func readChange(ctx context.Context, q querier, where string, args ...any) (u underWay, asked string, err error) {
	var want, before []byte
	err = q.QueryRow(ctx, `
		SELECT drop_id, number, wanted, before, coalesce(outcome, ''), asked, who, request_id, address, begun_at
		FROM drop_changes WHERE `+where+` LIMIT 1`, args...,
	).Scan(&u.drop, &u.number, &want, &before, &u.outcome, &asked, &u.by.Who, &u.by.RequestID, &u.by.Address, &u.begun)
	if err != nil {
		return u, "", err
	}
	return u, asked, errors.Join(json.Unmarshal(want, &u.wanted), json.Unmarshal(before, &u.before))
}

// change reads one change again.
func (s *Store) change(ctx context.Context, drop, number int64) (underWay, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	u, _, err := readChange(ctx, s.pool, `drop_id = $1 AND number = $2`, drop, number)
	return u, wrap("read a change", err)
}

// renumber gives a change that is not decided a greater number. It returns
// ErrUnavailable where somebody else has given it one, or has finished it.
func (s *Store) renumber(ctx context.Context, u underWay, number int64) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	tag, err := s.pool.Exec(ctx, `
		UPDATE drop_changes SET number = $3 WHERE drop_id = $1::bigint AND number = $2 AND outcome IS NULL`,
		u.drop, u.number, number)
	if err == nil && tag.RowsAffected() == 0 {
		return fmt.Errorf("%w: others go on with change %d of drop %d", ErrUnavailable, u.number, u.drop)
	}
	return wrap("renumber a change", err)
}

// cutShort gives the changes that were begun long ago and are not decided, as
// far as Postgres knows: at most a page.
func (s *Store) cutShort(ctx context.Context, ago time.Duration) ([]underWay, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, `
		SELECT drop_id, number FROM drop_changes
		WHERE outcome IS NULL AND begun_at < now() - make_interval(secs => $1) ORDER BY drop_id LIMIT 100`, ago.Seconds())
	if err != nil {
		return nil, wrap("read changes under way", err)
	}
	var list []underWay
	var u underWay
	_, err = pgx.ForEachRow(rows, []any{&u.drop, &u.number}, func() error {
		list = append(list, u)
		return nil
	})
	return list, wrap("read changes under way", err)
}

// made is the outcome of a change that was made.
const made = "made"

// confirmChange notes what Redis has decided, and brings the catalogue up to
// it, once: whoever comes later finds it done. It returns ErrStaleEpoch where the
// partition has been rebuilt since: Redis has to be asked again then. What out tells of
// it is in the same transaction.
func (s *Store) confirmChange(ctx context.Context, partition int, u underWay, d engine.Decision, out outbox) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	outcome := made
	if d.Refusal != nil {
		outcome = refusalNames[d.Refusal]
	}
	sizes, totals, sum := make([]string, len(d.Totals)), make([]int64, len(d.Totals)), int64(0)
	after := actTerms{State: d.State, Start: d.Start, Limit: LimitOf(d.Limit), PriceMinor: u.before.PriceMinor}
	for i, t := range d.Totals {
		sizes[i], totals[i] = t.Size, t.Stock
		sum += t.Stock
		after.Sizes = append(after.Sizes, actSize{t.Size, t.Stock})
	}
	if !d.End.IsZero() {
		after.End = &d.End
	}
	if p := u.wanted.PriceMinor; p != nil && d.Refusal == nil {
		after.PriceMinor = *p
	}
	return wrap("confirm a change", pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT require_epoch($1, $2)`, partition, d.Epoch); err != nil {
			return err
		}
		if _, err := lockDrop(ctx, tx, u.drop); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			UPDATE drop_changes SET outcome = $3, decided_at = now()
			WHERE drop_id = $1::bigint AND number = $2 AND outcome IS NULL`, u.drop, u.number, outcome)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		unsold, err := unsoldUnits(ctx, tx, u.drop)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE drops SET state = $2, start_time = $3, end_time = $4, limit_per_customer = $5,
				price_minor = $6, total_stock = $7, change = $8 WHERE id = $1::bigint`,
			u.drop, d.State, d.Start, after.End, d.Limit, after.PriceMinor, sum, u.number)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE drop_sizes AS s SET total_stock = t.total, coming = 0
			FROM unnest($2::text[], $3::bigint[]) AS t (size, total) WHERE s.drop_id = $1::bigint AND s.size = t.size`,
			u.drop, sizes, totals)
		if err != nil {
			return err
		}
		if err := out.soldOutByChange(ctx, tx, u.drop, unsold); err != nil || outcome != made {
			return err
		}
		_, err = writeAct(ctx, tx, NewAct{By: u.by, Action: "change", Drop: u.drop, Before: u.before, After: after})
		return err
	}))
}

// refusalNames are the outcomes of changes that were refused.
var refusalNames = map[error]string{
	engine.ErrEnded:          "ended",
	engine.ErrAlreadyStarted: "already_started",
	engine.ErrNotEnough:      "not_enough_available",
	engine.ErrUnknownSize:    "unknown_size",
	engine.ErrBadTimes:       "bad_times",
	engine.ErrNotCounted:     "limit_not_counted",
	engine.ErrCorrupt:        "corrupt",
}

// refusal is the error of an outcome; nil for one that was made.
func refusal(outcome string) error {
	for err, name := range refusalNames {
		if name == outcome {
			return err
		}
	}
	return nil
}
