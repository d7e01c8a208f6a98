package persist_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

func soldOutID(drop, total, change int64) string {
	return fmt.Sprintf("sold_out_%d_%d_%d", drop, total, change)
}

// TestSoldOutByAChange has units taken away, and the writer sell while a change is under
// way: sold out is told of where it is so, and nowhere else.
func TestSoldOutByAChange(t *testing.T) {
	s := newShop(t)
	s.webhooks = []persist.Subscription{{URL: allURL, Events: []string{persist.EventDropSoldOut}}}
	user, w := s.user(), s.writer("w", subscribed(s.webhooks...))
	buys := func(drop int64, n int) {
		for range n {
			s.buy(drop, user, "")
		}
		s.drain(w)
	}
	// begun has a change begin whose process dies once Redis has decided it, or before.
	begun := func(t *testing.T, drop int64, c persist.Change, decided bool) {
		t.Helper()
		mortal, death := s.mortal()
		death.after.Store(decided)
		death.before.Store(!decided)
		if _, err := mortal.Change(t.Context(), drop, c, operator, ""); !errors.Is(err, engine.ErrUnavailable) {
			t.Fatalf("change: %v", err)
		}
	}
	for _, finisher := range []string{"operator", "reconciler"} {
		t.Run("taken away, "+finisher, func(t *testing.T) {
			before := s.events(allURL)
			d := s.sells(0, engine.SizeStock{Stock: 3})
			buys(d.ID, 1)
			if finisher == "operator" {
				_, err := s.steering().Change(t.Context(), d.ID, add("", -2), operator, "")
				must(t, err)
			} else {
				begun(t, d.ID, add("", -2), true)
				other := s.instance()
				must(t, other.recon.Settle(t.Context()))
				other.settled(d.ID, 1)
			}
			s.tells(allURL, append(before, soldOutID(d.ID, 1, 1))...)
		})
	}
	t.Run("added", func(t *testing.T) {
		before := s.events(allURL)
		d := s.sells(0, engine.SizeStock{Stock: 1})
		begun(t, d.ID, add("", 1), true)
		buys(d.ID, 1)
		s.tells(allURL, before...)
		buys(d.ID, 1)
		_, err := s.steering().Change(t.Context(), d.ID, persist.Change{State: engine.StatePaused}, operator, "")
		must(t, err)
		s.tells(allURL, append(before, soldOutID(d.ID, 2, 0))...)
	})
	t.Run("not added after all", func(t *testing.T) {
		before := s.events(allURL)
		d := s.sells(0, engine.SizeStock{Stock: 1})
		refused := add("", 1)
		price := int64(5) // only before the start
		refused.PriceMinor = &price
		begun(t, d.ID, refused, false)
		buys(d.ID, 1)
		s.tells(allURL, before...)
		_, err := s.steering().Change(t.Context(), d.ID, persist.Change{State: engine.StatePaused}, operator, "")
		must(t, err)
		s.tells(allURL, append(before, soldOutID(d.ID, 1, 1))...)
	})
	t.Run("again with the same total", func(t *testing.T) {
		before := s.events(allURL)
		d := s.sells(0, engine.SizeStock{Stock: 1})
		buys(d.ID, 1)
		for _, n := range []int64{5, -5} {
			_, err := s.steering().Change(t.Context(), d.ID, add("", n), operator, "")
			must(t, err)
		}
		s.tells(allURL, append(before, soldOutID(d.ID, 1, 0), soldOutID(d.ID, 1, 2))...)
	})
	t.Run("nothing sold", func(t *testing.T) {
		before := s.events(allURL)
		d := s.sells(0, engine.SizeStock{Stock: 1})
		_, err := s.steering().Change(t.Context(), d.ID, add("", -1), operator, "")
		must(t, err)
		s.tells(allURL, before...)
	})
	t.Run("told of before", func(t *testing.T) {
		d := s.sells(0, engine.SizeStock{Stock: 1})
		buys(d.ID, 1)
		before := s.events(allURL)
		_, err := s.sql.Exec(t.Context(), `DELETE FROM webhook_outbox WHERE drop_id = $1`, d.ID) // after three days
		must(t, err)
		_, err = s.steering().Change(t.Context(), d.ID, persist.Change{State: engine.StatePaused}, operator, "")
		must(t, err)
		if n := s.count(`SELECT count(*) FROM webhook_outbox WHERE drop_id = $1`, d.ID); n != 0 || len(before) == 0 {
			t.Errorf("%d events of a drop that was sold out already", n)
		}
	})
}
