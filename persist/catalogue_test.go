package persist_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

func TestCreateOpenAndFindADrop(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	start := time.Date(2030, 1, 2, 3, 4, 5, 678_000_000, time.FixedZone("", 3600))
	made, err := e.store.CreateDrop(ctx, persist.NewDrop{
		Name: "Größe", PriceMinor: 1 << 40, ImageURL: "https://example.com/a.png",
		Start: start, End: start.Add(time.Hour), Hold: 1500 * time.Millisecond, Limit: 2,
		Sizes: []engine.SizeStock{{Size: "43", Stock: 7}, {Size: "42", Stock: 5}},
	})
	must(t, err)
	if made.ID < 1 || made.TotalStock != 12 || !made.Sized || !made.Opened.IsZero() {
		t.Errorf("created %+v", made)
	}
	got, err := e.store.Drop(ctx, made.ID, 3)
	must(t, err)
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", made) {
		t.Errorf("read  %+v\nmade %+v", got, made)
	}
	if got.Start.Location() != time.UTC || !got.Start.Equal(start) {
		t.Errorf("start %v, want %v in UTC", got.Start, start)
	}
	if terms := got.Terms(9); terms.FirstSeq != 9 || terms.Hold != 1500*time.Millisecond || terms.Sizes[0].Size != "43" {
		t.Errorf("terms %+v", terms)
	}

	list, err := e.store.ListDrops(ctx, persist.ListQuery{})
	must(t, err)
	if len(list) != 0 {
		t.Errorf("a drop that is not open is listed: %+v", list)
	}
	must(t, e.store.MarkOpened(ctx, made.ID))
	opened, err := e.store.Drop(ctx, made.ID, 0)
	must(t, err)
	must(t, e.store.MarkOpened(ctx, made.ID))
	again, err := e.store.Drop(ctx, made.ID, 0)
	must(t, err)
	if opened.Opened.IsZero() || !again.Opened.Equal(opened.Opened) {
		t.Errorf("opened %v, then %v", opened.Opened, again.Opened)
	}
	if err := e.store.DiscardDrop(ctx, made.ID); !errors.Is(err, persist.ErrNotFound) {
		t.Errorf("discarding an open drop: %v, want ErrNotFound", err)
	}
}

func TestDiscardDrop(t *testing.T) {
	e := newEnv(t)
	d, err := e.store.CreateDrop(t.Context(), persist.NewDrop{Name: "x", Hold: time.Second, Sizes: []engine.SizeStock{{Stock: 1}}})
	must(t, err)
	if d.Sized {
		t.Error("a drop without sizes is sized")
	}
	must(t, e.store.DiscardDrop(t.Context(), d.ID))
	if _, err := e.store.Drop(t.Context(), d.ID, 0); !errors.Is(err, persist.ErrNotFound) {
		t.Errorf("discarded drop: %v, want ErrNotFound", err)
	}
	if n := e.count(`SELECT count(*) FROM drop_sizes`); n != 0 {
		t.Errorf("%d sizes left", n)
	}
}

func TestUnknownDrops(t *testing.T) {
	e := newEnv(t)
	for _, id := range []int64{-1, 0, 999, 1 << 24, 1 << 40} {
		_, byID := e.store.Drop(t.Context(), id, 1)
		_, reservation := e.store.Reservation(t.Context(), id)
		for name, err := range map[string]error{
			"Drop": byID, "Reservation": reservation,
			"MarkOpened":  e.store.MarkOpened(t.Context(), id),
			"DiscardDrop": e.store.DiscardDrop(t.Context(), id),
		} {
			if !errors.Is(err, persist.ErrNotFound) {
				t.Errorf("%s(%d): %v, want ErrNotFound", name, id, err)
			}
		}
		if last, err := e.store.LastSeq(t.Context(), max(id, 0)); err != nil || last != 0 {
			t.Errorf("LastSeq(%d): %d, %v", id, last, err)
		}
	}
}

func TestCreateDropRefusesWhatItCanNotHold(t *testing.T) {
	e := newEnv(t)
	good := persist.NewDrop{Name: "x", Hold: time.Second, Start: time.Now(), Sizes: []engine.SizeStock{{Stock: 1}}}
	for name, spoil := range map[string]func(*persist.NewDrop){
		"NUL in the name":  func(d *persist.NewDrop) { d.Name = "a\x00b" },
		"invalid UTF-8":    func(d *persist.NewDrop) { d.ImageURL = "\xff" },
		"negative price":   func(d *persist.NewDrop) { d.PriceMinor = -1 },
		"negative stock":   func(d *persist.NewDrop) { d.Sizes = []engine.SizeStock{{Stock: -1}} },
		"repeated size":    func(d *persist.NewDrop) { d.Sizes = []engine.SizeStock{{Size: "a"}, {Size: "a"}} },
		"no hold":          func(d *persist.NewDrop) { d.Hold = 0 },
		"end before start": func(d *persist.NewDrop) { d.End = d.Start.Add(-time.Second) },
	} {
		bad := good
		spoil(&bad)
		if _, err := e.store.CreateDrop(t.Context(), bad); !errors.Is(err, persist.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if n := e.count(`SELECT count(*) FROM drops`); n != 0 {
		t.Errorf("%d drops left by refused calls", n)
	}
}

func TestListDropsWithNewestBuyersInOneStatement(t *testing.T) {
	e := newEnv(t)
	user := e.user()
	ids := make([]int64, 5)
	for i := range ids {
		ids[i] = e.drop(engine.SizeStock{Stock: 10}).ID
	}
	w := e.writer("one", nil)
	for seq := int64(1); seq <= 4; seq++ {
		e.add(ids[3], rec("p", ids[3], seq, user, ""))
	}
	e.drain(w)

	seen := &statements{}
	store, err := persist.Open(persist.Config{URL: e.DatabaseURL, Tracer: seen})
	must(t, err)
	t.Cleanup(store.Close)
	list, err := store.ListDrops(t.Context(), persist.ListQuery{Limit: 3, Before: ids[4], Buyers: 3})
	must(t, err)
	if n := seen.count(); n != 1 {
		t.Errorf("%d statements, want 1", n)
	}
	var got, buyers []int64 //nolint:prealloc // three each
	for _, d := range list {
		got = append(got, d.ID)
	}
	if want := []int64{ids[3], ids[2], ids[1]}; !slices.Equal(got, want) {
		t.Fatalf("listed %v, want %v", got, want)
	}
	for _, b := range list[0].Buyers {
		buyers = append(buyers, b.Purchase-engine.ReservationID(ids[3], 0))
		if b.User != user || b.Username != "ada" || b.Purchased.IsZero() {
			t.Errorf("buyer %+v", b)
		}
	}
	if !slices.Equal(buyers, []int64{4, 3, 2}) {
		t.Errorf("buyers %v, want the newest three", buyers)
	}
	if list[0].Sizes[0].Sold != 4 || len(list[1].Buyers) != 0 {
		t.Errorf("drops %+v", list[:2])
	}
}

func TestDropsByID(t *testing.T) {
	e := newEnv(t)
	user := e.user()
	ids := make([]int64, 4)
	for i := range ids {
		ids[i] = e.drop(engine.SizeStock{Size: "43", Stock: 10}, engine.SizeStock{Size: "42", Stock: 10}).ID
	}
	w := e.writer("one", nil)
	closed, err := e.store.CreateDrop(t.Context(), persist.NewDrop{Name: "x", Hold: time.Second, Sizes: []engine.SizeStock{{Stock: 1}}})
	must(t, err)
	for seq := int64(1); seq <= 3; seq++ {
		e.add(ids[2], rec("p", ids[2], seq, user, "42"))
	}
	e.add(ids[0], rec("p", ids[0], 1, user, "43"))
	e.drain(w)

	seen := &statements{}
	store, err := persist.Open(persist.Config{URL: e.DatabaseURL, Tracer: seen})
	must(t, err)
	t.Cleanup(store.Close)
	list, err := store.DropsByID(t.Context(), []int64{closed.ID, ids[2], 1 << 40, ids[0], -1, ids[2], 999}, 2)
	must(t, err)
	if n := seen.count(); n != 1 {
		t.Errorf("%d statements, want 1", n)
	}
	got := make([]int64, 0, len(list))
	for _, d := range list {
		got = append(got, d.ID)
	}
	if want := []int64{ids[0], ids[2], closed.ID}; !slices.Equal(got, want) {
		t.Fatalf("drops %v, want %v", got, want)
	}
	for i, want := range [][]int64{{1}, {3, 2}, nil} {
		var buyers []int64
		for _, b := range list[i].Buyers {
			buyers = append(buyers, b.Purchase-engine.ReservationID(list[i].ID, 0))
			if b.User != user || b.Username != "ada" || b.Purchased.IsZero() {
				t.Errorf("buyer %+v", b)
			}
		}
		if !slices.Equal(buyers, want) {
			t.Errorf("buyers of drop %d: %v, want the newest, %v", list[i].ID, buyers, want)
		}
		alone, err := e.store.Drop(t.Context(), list[i].ID, 2)
		must(t, err)
		if fmt.Sprintf("%+v", list[i]) != fmt.Sprintf("%+v", alone) {
			t.Errorf("together %+v\nalone    %+v", list[i], alone)
		}
	}
	if list[0].Opened.IsZero() || !list[2].Opened.IsZero() {
		t.Errorf("opened %v and %v, want the last one alone unopened", list[0].Opened, list[2].Opened)
	}

	list, err = store.DropsByID(t.Context(), ids, 0)
	must(t, err)
	if len(list) != len(ids) || len(list[2].Buyers) != 0 {
		t.Errorf("without buyers: %+v", list)
	}
	for _, none := range [][]int64{nil, {}, {999}} {
		if list, err = store.DropsByID(t.Context(), none, 1); err != nil || len(list) != 0 {
			t.Errorf("%v: %+v, %v", none, list, err)
		}
	}
}

func TestAllDrops(t *testing.T) {
	e := newEnv(t)
	_, err := e.sql.Exec(t.Context(), `
		WITH d AS (
			INSERT INTO drops (name, price_minor, image_url, total_stock, sized, start_time, hold_ms, limit_per_customer)
			SELECT 'drop', 1, '', 1, false, now(), 1000, 0 FROM generate_series(1, 1001) RETURNING id)
		INSERT INTO drop_sizes (drop_id, size, position, total_stock) SELECT id, '', 1, 1 FROM d`)
	must(t, err)
	last, n := int64(0), 0
	for d, err := range e.store.AllDrops(t.Context()) {
		must(t, err)
		if d.ID <= last || len(d.Sizes) != 1 {
			t.Fatalf("drop %+v after %d", d, last)
		}
		last = d.ID
		n++
	}
	if n != 1001 {
		t.Errorf("%d drops, want 1001", n)
	}
	for _, err := range e.store.AllDrops(t.Context()) {
		must(t, err)
		break // leaving early must not keep a connection
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range e.store.AllDrops(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
}

// statements counts what Postgres is asked.
type statements struct{ lines }

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	_, _ = s.Write([]byte("statement: " + q.SQL + "\n"))
	return ctx
}

func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (s *statements) count() int { return s.lines.count("statement: ") }
