package persist_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// What a foreign hand, a clock or a restored Postgres leaves behind.

func (s *shop) dropKey(drop int64) string { return s.stream(drop, "drop:"+strconv.FormatInt(drop, 10)) }

// neighbours are two drops of one partition.
func (s *shop) neighbours(stock int64) (a, b int64) {
	s.Helper()
	a = s.sells(0, engine.SizeStock{Stock: stock}).ID
	for b == 0 || s.engine.Partition(a) != s.engine.Partition(b) {
		b = s.sells(0, engine.SizeStock{Stock: stock}).ID
	}
	return a, b
}

// TestRebuildCountsWhatIsSold has a foreign hand in the counter of what is sold: the command
// counts the receipts, and no more is sold than there is.
func TestRebuildCountsWhatIsSold(t *testing.T) {
	for name, by := range map[string]int64{"too few": -1, "too many": 1} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			user, d := s.user(), s.sells(0, engine.SizeStock{Stock: 3})
			s.buy(d.ID, user, "")
			s.persists()
			must(t, s.redis.HIncrBy(t.Context(), s.dropKey(d.ID), "s:", by).Err())
			if _, err := s.engine.Reserve(t.Context(), engine.ReserveRequest{Drop: d.ID, User: user}); !errors.Is(err, engine.ErrCorrupt) {
				t.Errorf("reserve: %v", err)
			}
			_, err := s.recon.RebuildDrop(t.Context(), d.ID)
			must(t, err)
			for range 2 {
				s.buy(d.ID, user, "")
			}
			if _, err := s.engine.Reserve(t.Context(), engine.ReserveRequest{Drop: d.ID, User: user}); !errors.Is(err, engine.ErrOutOfStock) {
				t.Errorf("one more than there is: %v", err)
			}
			s.persists()
			if n := s.count(`SELECT count(*) FROM purchases`); n != 3 {
				t.Errorf("%d purchases, want 3", n)
			}
		})
	}
}

// TestACorruptDropInAFailOver has a replica promoted that lags, on which the counters of a
// drop do not add up and a hold lives that is over: the drop's neighbour is served, and so is it.
func TestACorruptDropInAFailOver(t *testing.T) {
	s := newShop(t)
	user := s.user()
	odd, other := s.neighbours(5)
	h := s.hold(odd, user, "")
	must(t, s.redis.HIncrBy(t.Context(), s.dropKey(odd), "a:", 1).Err())
	lagging := s.keep()
	must(t, s.redis.HIncrBy(t.Context(), s.dropKey(odd), "a:", -1).Err())
	_, err := s.engine.Cancel(t.Context(), h.ID)
	must(t, err)
	s.persists()
	s.promote(lagging)
	must(t, s.recon.Settle(t.Context()))
	for _, drop := range []int64{odd, other} {
		if _, err := s.engine.Reserve(t.Context(), engine.ReserveRequest{Drop: drop, User: user}); err != nil {
			t.Errorf("drop %d: %v", drop, err)
		}
		if is := s.stock(drop).Sizes[0]; is.Available != 4 || is.Held != 1 || is.Sold != 0 {
			t.Errorf("drop %d has %+v", drop, is)
		}
	}
}

// TestAClaimOfTheFuture has a rebuild die on a Redis whose clock was an hour ahead.
func TestAClaimOfTheFuture(t *testing.T) {
	s := newShop(t)
	d := s.sells(0, engine.SizeStock{Stock: 5})
	meta := s.stream(d.ID, "meta")
	must(t, s.redis.HSet(t.Context(), meta, "claim", "DEAD", "claimed", time.Now().Add(time.Hour).UnixMilli()).Err())
	must(t, s.redis.HDel(t.Context(), meta, "server").Err())
	must(t, s.recon.Settle(t.Context()))
	s.buy(d.ID, s.user(), "")
}

// TestPostgresGoesBack has Postgres lose what it knew of the newest epoch: a rebuild puts
// the two together again, and what is sold arrives.
func TestPostgresGoesBack(t *testing.T) {
	for name, sql := range map[string]string{
		"an epoch": `UPDATE epochs SET epoch = epoch - 1, admitted = admitted - 1, raised_at = now() - interval '1 hour'`,
		"all":      `DELETE FROM epochs`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			user, d := s.user(), s.sells(0, engine.SizeStock{Stock: 5})
			s.buy(d.ID, user, "")
			s.persists()
			_, err := s.sql.Exec(t.Context(), sql)
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); s.recon.Run(ctx) }()
			defer func() { cancel(); <-done }()
			harness.Eventually(t, 20*time.Second, func() error { // it may be fenced for a moment
				h, err := s.engine.Reserve(t.Context(), engine.ReserveRequest{Drop: d.ID, User: user})
				if err == nil {
					_, err = s.engine.Purchase(t.Context(), h.ID)
				}
				return err
			})
			w := s.writer("w", nil)
			waited, stop := context.WithTimeout(t.Context(), 30*time.Second)
			defer stop()
			must(t, w.Drain(waited, nil))
			if n := s.count(`SELECT count(*) FROM purchases`); n != 2 {
				t.Errorf("%d purchases in Postgres, want 2", n)
			}
		})
	}
}

// TestFencedWithPersonalLimits has Redis lose a drop: who wants it is told to come again, not that
// there is none.
func TestFencedWithPersonalLimits(t *testing.T) {
	s := newShop(t)
	user, d := s.user(), s.sells(0, engine.SizeStock{Stock: 5})
	limited, err := engine.New(engine.Config{Redis: s.redisClient(), Prefix: s.Prefix, Partitions: partitions, MaxHoldsPerUser: 10})
	must(t, err)
	must(t, limited.Start(t.Context()))
	t.Cleanup(limited.Stop)
	s.lose()
	if _, err = limited.Reserve(t.Context(), engine.ReserveRequest{Drop: d.ID, User: user}); !errors.Is(err, engine.ErrFenced) && !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("reserve: %v", err)
	}
	must(t, s.recon.Settle(t.Context()))
	_, err = limited.Reserve(t.Context(), engine.ReserveRequest{Drop: d.ID, User: user})
	must(t, err)
	if _, err = limited.Reserve(t.Context(), engine.ReserveRequest{Drop: d.ID + 1000, User: user}); !errors.Is(err, engine.ErrDropNotFound) {
		t.Errorf("no such drop: %v", err)
	}
}
