package api

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// query is what a GET of drops asks for.
type query struct {
	drop   int64 // this one; 0: a page of the catalogue
	limit  int
	before int64
}

// view is what one query was answered with, and what that was made of.
type view struct {
	query  query
	answer *answer // nil before the first flight has landed

	// As of this moment nothing was due before until.
	as    moment
	until time.Time

	flight *flight // that is under way
	next   *flight // that begins when it has landed

	// Changed by flights alone.
	shown  []shown
	rowsAs moment // when the rows were read
	rowsAt time.Time
}

// shown is one drop in a view.
type shown struct {
	row     persist.Drop
	stock   *engine.Stock // nil where Redis does not have the drop
	stockAs moment        // when it was read
	stockAt time.Time
	json    []byte // of both; a part of the answer's body
}

// answer is a 200 as it is sent. It does not change.
type answer struct {
	body []byte
	tag  string
}

// send answers with the body, or 304 where the caller has it.
func (a *answer) send(c *fiber.Ctx) error {
	if conditional(c, a.tag) {
		return nil
	}
	c.Response().Header.SetContentType(fiber.MIMEApplicationJSON)
	c.Response().SetBodyRaw(a.body)
	return nil
}

// put takes in rows that were read. What is known of a drop that is the same
// stays.
func (f *flight) put(rows []persist.Drop) {
	known := make(map[int64]*shown, len(f.shown))
	for i := range f.shown {
		known[f.shown[i].row.ID] = &f.shown[i]
	}
	next := make([]shown, len(rows))
	for i, row := range rows {
		was := known[row.ID]
		switch {
		case was == nil:
			next[i].row = row
		case reflect.DeepEqual(was.row, row):
			next[i] = *was
		default:
			next[i] = *was
			next[i].row, next[i].json = row, nil
		}
	}
	f.sameDrops = slices.EqualFunc(f.shown, next, func(a, b shown) bool { return a.row.ID == b.row.ID })
	f.shown = next
}

// count takes in a stock that was read.
func (s *shown) count(stock *engine.Stock, as moment, at time.Time) {
	if stock != nil {
		stock.LastSeq = 0 // is not shown
	}
	if !reflect.DeepEqual(s.stock, stock) {
		s.stock, s.json = stock, nil
	}
	s.stockAs, s.stockAt = as, at
}

// render gives the answer that shows the drops: the one before if it still
// does, else one in which only the drops that changed are encoded anew.
func (f *flight) render(q query, before *answer) (*answer, error) {
	same := before != nil && f.sameDrops
	size := len("[]")
	for i := range f.shown {
		s := &f.shown[i]
		if s.json == nil {
			same = false
			var err error
			if s.json, err = json.Marshal(renderDrop(s.row, s.stock)); err != nil {
				return nil, err
			}
		}
		size += len(s.json) + len(",")
	}
	if same {
		return before, nil
	}
	body := make([]byte, 0, size)
	list := q.drop == 0
	if list {
		body = append(body, '[')
	}
	for i := range f.shown {
		if i > 0 {
			body = append(body, ',')
		}
		from := len(body)
		body = append(body, f.shown[i].json...)
		f.shown[i].json = body[from:len(body):len(body)] // or the last body would stay for its sake
	}
	if list {
		body = append(body, ']')
	}
	return &answer{body: body, tag: tagOf(body)}, nil
}

// load reads the rows that a query asks for.
func (k *catalogue) load(ctx context.Context, q query) ([]persist.Drop, error) {
	if q.drop == 0 {
		return k.list(ctx, q.limit, q.before)
	}
	d, err := k.drop(ctx, q.drop)
	return []persist.Drop{d}, err
}
