package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// model is a drop in a few lines: what each hold is, as far as the callers were
// told, and how many units each person has of each size.
type model struct {
	drop   engine.Drop
	sized  bool
	holds  map[int64]*modelHold
	ids    []int64
	opened bool
	paused bool
	number int64 // of the newest change
}

type modelHold struct {
	res      engine.Reservation
	status   engine.Status // StatusActive until a call or the clock says otherwise
	released bool          // a lapsed hold that is known to be back in stock
}

// taken is how many units are taken of those that match: the least, and the
// most, since a lapsed hold comes back a little later.
func (m *model) taken(match func(engine.Reservation) bool) (least, most int64) {
	for _, h := range m.holds {
		if !match(h.res) {
			continue
		}
		switch {
		case h.status == engine.StatusActive, h.status == engine.StatusCompleted:
			least++
			most++
		case h.status == engine.StatusExpired && !h.released:
			most++
		}
	}
	return least, most
}

// lapse marks what has lapsed by now on Redis's clock.
func (m *model) lapse(now time.Time) {
	for _, h := range m.holds {
		if h.status == engine.StatusActive && !h.res.Deadline.After(now) {
			h.status = engine.StatusExpired
		}
	}
}

// TestAnySequenceConserves runs random sequences of open, reserve, purchase,
// cancel, change and lapse against the model and checks conservation after each step.
// On a failure rapid prints the seed and the smallest sequence it finds.
func TestAnySequenceConserves(t *testing.T) {
	t.Parallel()
	e, env := newEngine(t)
	clock := env.Redis()
	runExpirer(t, e, engine.ExpirerConfig{})
	var lastDrop int64
	now := func() time.Time {
		at, err := clock.Time(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return at.Truncate(time.Millisecond)
	}

	rapid.Check(t, func(r *rapid.T) {
		lastDrop++
		short := rapid.Bool().Draw(r, "short hold")
		d := engine.Drop{
			ID: lastDrop, Start: time.Now().Add(-time.Hour), Hold: time.Hour,
			Limit: rapid.Int64Range(0, 3).Draw(r, "limit"),
			Sizes: []engine.SizeStock{{Stock: rapid.Int64Range(1, 6).Draw(r, "stock")}},
		}
		if short {
			d.Hold = engine.MinHold
		}
		sized := rapid.Bool().Draw(r, "sized")
		if sized {
			d.Sizes = []engine.SizeStock{
				{Size: "S", Stock: rapid.Int64Range(1, 4).Draw(r, "S")},
				{Size: "M:|", Stock: rapid.Int64Range(1, 4).Draw(r, "M")},
			}
		}
		m := &model{drop: d, sized: sized, holds: map[int64]*modelHold{}}
		m.drop.Sizes = slices.Clone(d.Sizes) // changes alter it
		pick := func(r *rapid.T) int64 {
			if len(m.ids) == 0 {
				r.Skip("no holds yet")
			}
			return rapid.SampledFrom(m.ids).Draw(r, "hold")
		}
		actions := map[string]func(*rapid.T){
			"open": func(r *rapid.T) {
				if err := e.Open(t.Context(), d); err != nil {
					r.Fatal(err)
				}
				m.opened = true
			},
			"reserve": func(r *rapid.T) {
				req := engine.ReserveRequest{Drop: d.ID, User: rapid.Int64Range(1, 4).Draw(r, "user")}
				req.Size = rapid.SampledFrom([]string{"S", "M:|", "", "XL"}).Draw(r, "size")
				res, err := e.Reserve(t.Context(), req)
				m.checkReserve(r, now(), req, res, err)
			},
			"purchase": func(r *rapid.T) {
				id := pick(r)
				before := now()
				_, err := e.Purchase(t.Context(), id)
				m.checkSettle(r, before, now(), id, err, engine.StatusCompleted, engine.ErrCancelled, engine.StatusCancelled)
			},
			"cancel": func(r *rapid.T) {
				id := pick(r)
				before := now()
				_, err := e.Cancel(t.Context(), id)
				m.checkSettle(r, before, now(), id, err, engine.StatusCancelled, engine.ErrCompleted, engine.StatusCompleted)
			},
			"change": func(r *rapid.T) {
				c := m.drawChange(r)
				d, err := e.Change(t.Context(), m.drop.ID, c)
				m.checkChange(r, now(), c, d, err)
			},
			"lapse": func(r *rapid.T) {
				if !short || !m.opened {
					r.Skip("nothing lapses")
				}
				harness.Eventually(t, 5*time.Second, func() error {
					m.lapse(now())
					if n := m.active(); n > 0 {
						return fmt.Errorf("%d holds still live", n)
					}
					return stockIs(t, e, d.ID, m.available(), 0, m.sold())
				})
				for _, h := range m.holds {
					h.released = h.status == engine.StatusExpired
				}
			},
			"": func(r *rapid.T) {
				if !m.opened {
					return
				}
				m.checkStock(r, now, stock(t, e, d.ID)) // stock checks conservation
			},
		}
		r.Repeat(actions)
	})
}

func (m *model) active() int64 { return m.all(engine.StatusActive) }
func (m *model) sold() int64   { return m.all(engine.StatusCompleted) }

func (m *model) all(status engine.Status) (n int64) {
	for _, h := range m.holds {
		if h.status == status {
			n++
		}
	}
	return n
}

func (m *model) available() int64 {
	var total int64
	for _, s := range m.drop.Sizes {
		total += s.Stock
	}
	return total - m.active() - m.sold()
}

// checkReserve compares an outcome with the model, which may not have noticed
// holds that lapsed up to after.
func (m *model) checkReserve(r *rapid.T, after time.Time, req engine.ReserveRequest, res engine.Reservation, err error) {
	pool, known := "", true
	if m.sized {
		pool, known = req.Size, req.Size == "S" || req.Size == "M:|"
	}
	var total int64
	for _, s := range m.drop.Sizes {
		if s.Size == pool {
			total = s.Stock
		}
	}
	m.lapse(after)
	leastTaken, mostTaken := m.taken(func(x engine.Reservation) bool { return !m.sized || x.Size == pool })
	leastUnits, mostUnits := m.taken(func(x engine.Reservation) bool { return x.User == req.User })
	switch {
	case m.opened && (m.paused || errors.Is(err, engine.ErrPaused)):
		if !m.paused || !errors.Is(err, engine.ErrPaused) {
			r.Fatalf("%v, paused %v", err, m.paused)
		}
	case err == nil:
		if !m.opened || !known || leastTaken >= total || (m.drop.Limit > 0 && leastUnits >= m.drop.Limit) {
			r.Fatalf("reserved although %d of %d were taken, %d units of limit %d", leastTaken, total, leastUnits, m.drop.Limit)
		}
		if m.holds[res.ID] != nil {
			r.Fatalf("id %d twice", res.ID)
		}
		m.holds[res.ID] = &modelHold{res: res, status: engine.StatusActive}
		m.ids = append(m.ids, res.ID)
	case errors.Is(err, engine.ErrDropNotFound) && !m.opened:
	case errors.Is(err, engine.ErrSizeRequired) && m.sized && req.Size == "":
	case errors.Is(err, engine.ErrUnknownSize) && m.sized && !known && req.Size != "":
	case errors.Is(err, engine.ErrLimitReached) && m.drop.Limit > 0 && mostUnits >= m.drop.Limit:
	case errors.Is(err, engine.ErrOutOfStock) && mostTaken >= total:
	default:
		r.Fatalf("%+v: %v; %d of %d taken, %d units of limit %d", req, err, mostTaken, total, mostUnits, m.drop.Limit)
	}
}

// checkSettle compares the outcome of a purchase or a cancel with the model.
func (m *model) checkSettle(r *rapid.T, before, after time.Time, id int64, err error, want engine.Status, otherErr error, other engine.Status) {
	h := m.holds[id]
	live := h.status == engine.StatusActive
	switch {
	case err == nil && h.status == want:
	case err == nil && live && h.res.Deadline.After(before):
		h.status = want
	case errors.Is(err, engine.ErrExpired) && (live || h.status == engine.StatusExpired) && !h.res.Deadline.After(after):
		h.status = engine.StatusExpired
	case errors.Is(err, otherErr) && h.status == other:
	default:
		r.Fatalf("hold %+v: %v at %v … %v", h, err, before, after)
	}
}

func (m *model) checkStock(r *rapid.T, now func() time.Time, s engine.Stock) {
	if s.Sold != m.sold() {
		r.Fatalf("sold %d, the model says %d", s.Sold, m.sold())
	}
	// Lapsed holds stay held until they are released; live ones are held.
	m.lapse(now())
	if s.Held < m.active() {
		r.Fatalf("held %d, the model has %d live", s.Held, m.active())
	}
}

// TestVersionsNeverGoBack runs random sequences, has Redis lose the drop, and
// opens it again with ids above all earlier ones: whoever watches it must not
// take what follows for old.
func TestVersionsNeverGoBack(t *testing.T) {
	t.Parallel()
	e, env := newEngine(t)
	client := env.Redis()
	runExpirer(t, e, engine.ExpirerConfig{})
	var lastDrop int64
	forget := func(drop int64) {
		base := keyPrefix(env, drop)
		keys := []string{base + "deadlines", base + "ledger"}
		for scan := client.Scan(t.Context(), 0, fmt.Sprintf("%s*:%d*", base, drop), 1000).Iterator(); scan.Next(t.Context()); {
			keys = append(keys, scan.Val())
		}
		if err := client.Del(t.Context(), keys...).Err(); err != nil {
			t.Fatal(err)
		}
	}

	rapid.Check(t, func(r *rapid.T) {
		lastDrop++
		d := engine.Drop{
			ID: lastDrop, Start: time.Now().Add(-time.Hour), Hold: time.Hour, FirstSeq: rapid.Int64Range(1, 3).Draw(r, "first"),
			Sizes: []engine.SizeStock{{Size: "S", Stock: 20}, {Size: "M", Stock: 20}},
		}
		if rapid.IntRange(0, 3).Draw(r, "short hold") == 0 {
			d.Hold = engine.MinHold
		}
		version := int64(0)
		rises := func(what string) engine.Stock {
			s := stock(t, e, d.ID)
			if s.Version <= version {
				r.Fatalf("version %d after %d: %s", s.Version, version, what)
			}
			version = s.Version
			return s
		}
		for range rapid.IntRange(1, 3).Draw(r, "lives") {
			if err := e.Open(t.Context(), d); err != nil {
				r.Fatal(err)
			}
			last := rises("opened")
			for range rapid.IntRange(1, 6).Draw(r, "holds") {
				size := rapid.SampledFrom([]string{"S", "M"}).Draw(r, "size")
				hold := reserve(t, e, engine.ReserveRequest{Drop: d.ID, User: 1, Size: size})
				var err error
				switch rapid.SampledFrom([]string{"purchase", "cancel", "keep"}).Draw(r, "then") {
				case "purchase":
					_, err = e.Purchase(t.Context(), hold.ID)
				case "cancel":
					_, err = e.Cancel(t.Context(), hold.ID)
				}
				if err != nil && !errors.Is(err, engine.ErrExpired) {
					r.Fatal(err)
				}
				last = rises("sold")
			}
			if d.Hold == engine.MinHold { // whatever was kept lapses
				harness.Eventually(t, 5*time.Second, func() error {
					if last = stock(t, e, d.ID); last.Held > 0 {
						return fmt.Errorf("%d still held", last.Held)
					}
					return nil
				})
				version = max(version, last.Version)
			}
			for i, c := range last.Sizes {
				d.Sizes[i].Sold = c.Sold
			}
			d.FirstSeq = last.LastSeq + rapid.Int64Range(1, 3).Draw(r, "margin")
			forget(d.ID)
		}
	})
}
