package api

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// flight is one reading of a view, for all who came while it had not begun, or
// since, if nothing was acknowledged meanwhile.
type flight struct {
	as     moment // when it began
	began  time.Time
	done   chan struct{}
	answer *answer // or err, once it is done
	err    error

	shown     []shown
	sameDrops bool // the drops shown, and their order, are those of the view
	rowsAs    moment
	rowsAt    time.Time
}

// fly reads what is due of a view, and lands.
func (s *shelf) fly(v *view, f *flight) {
	f.err = errBrokeOff
	defer s.land(v, f)
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	f.shown, f.rowsAs, f.rowsAt, f.sameDrops = v.shown, v.rowsAs, v.rowsAt, true
	if f.err = s.readRows(ctx, v, f); f.err != nil {
		return
	}
	if f.err = s.readStock(ctx, f); f.err != nil {
		return
	}
	if f.answer, f.err = f.render(v.query, v.answer); f.answer != v.answer {
		s.metrics.renderings.Inc()
	}
}

// readRows reads the rows, if they were due when the flight began.
func (s *shelf) readRows(ctx context.Context, v *view, f *flight) error {
	s.mu.Lock()
	as, due := s.changes.moment, !s.changes.rowsDue(v).After(f.began)
	s.mu.Unlock()
	if !due {
		f.shown = slices.Clone(f.shown) // the view's own serve others meanwhile
		return nil
	}
	at := time.Now()
	s.metrics.postgres.Inc()
	rows, err := s.catalogue.load(ctx, v.query)
	if err != nil {
		return err
	}
	f.put(rows)
	f.rowsAs, f.rowsAt = as, at
	return nil
}

// readStock reads the stock of the drops of which it was due when the flight
// began.
func (s *shelf) readStock(ctx context.Context, f *flight) error {
	var drops []int64
	var at []int
	s.mu.Lock()
	as := s.changes.moment
	for i := range f.shown {
		if !s.changes.stockDue(&f.shown[i]).After(f.began) {
			drops, at = append(drops, f.shown[i].row.ID), append(at, i)
		}
	}
	s.mu.Unlock()
	if len(drops) == 0 {
		return nil
	}
	now := time.Now()
	s.metrics.redis.Inc()
	stock, err := s.engine.Stock(ctx, drops)
	if err != nil {
		return err
	}
	for i, of := range at {
		f.shown[of].count(stock[i], as, now)
	}
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
		stock.LastSeq, stock.Change = 0, 0 // are not shown
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
