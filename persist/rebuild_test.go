package persist_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

// TestRebuildOfManySales rebuilds 100,000 sold units over all partitions.
func TestRebuildOfManySales(t *testing.T) {
	const many = 16
	e := newEnv(t)
	client := e.redisClient()
	eng, err := engine.New(engine.Config{Redis: client, Prefix: e.Prefix, Partitions: many})
	must(t, err)
	must(t, eng.Start(t.Context()))
	t.Cleanup(eng.Stop)
	recon, err := persist.NewReconciler(persist.ReconcilerConfig{Engine: eng, Store: e.store, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	user := e.user()
	hot := e.drop(engine.SizeStock{Stock: 100_000})
	sold := map[int64]int64{hot.ID: 100_000}
	for range many - 1 {
		sold[e.drop(engine.SizeStock{Stock: 1000}).ID] = 1000
	}
	for drop, n := range sold {
		_, err = e.sql.Exec(t.Context(), `
			WITH ids AS (SELECT $1::bigint + i AS id FROM generate_series(1, $2) AS i),
			r AS (INSERT INTO reservations SELECT id, $3, $4, '', 'completed', now(), now() + interval '1 minute', now() FROM ids),
			p AS (INSERT INTO purchases SELECT id, $3, $4, '', '', now() FROM ids)
			UPDATE drop_sizes SET sold = $2 WHERE drop_id = $3`, engine.ReservationID(drop, 0), n, drop, user)
		must(t, err)
	}
	began := time.Now()
	must(t, recon.Settle(t.Context()))
	took := time.Since(began)
	t.Logf("%d sold units over %d partitions in %v", 100_000+1000*(many-1), many, took)
	if limit := 5 * time.Second * slowdown; took > limit {
		t.Errorf("took %v, more than %v", took, limit)
	}
	for drop, n := range sold {
		st, err := eng.Stock(t.Context(), []int64{drop})
		must(t, err)
		if st[0].Sold != n || st[0].Sold+st[0].Available != st[0].Total {
			t.Errorf("drop %d: %+v, want %d sold", drop, st[0], n)
		}
	}
	if r, err := eng.Purchase(t.Context(), engine.ReservationID(hot.ID, 77_777)); err != nil || !r.Replayed {
		t.Errorf("receipt: %+v, %v", r, err)
	}
}

// A drop may have sold although its creator was never told that it is open.
func TestIdsOfADropWhoseCreationHasNoKnownOutcome(t *testing.T) {
	s := newShop(t)
	user := s.user()
	d, err := s.store.CreateDrop(t.Context(), persist.NewDrop{Name: "x", Hold: time.Minute, Sizes: []engine.SizeStock{{Stock: 5}}})
	must(t, err)
	must(t, s.engine.Open(t.Context(), d.Terms(1)))
	first := s.buy(d.ID, user, "")
	s.persists()
	s.lose()
	must(t, s.recon.Settle(t.Context()))
	if r := s.hold(d.ID, user, ""); r.ID <= first.ID {
		t.Errorf("id %d after %d", r.ID, first.ID)
	}
}

// What ends holds frees memory, so a rebuild must not wait for it.
func TestRebuildAtFullMemory(t *testing.T) {
	s := newShop(t)
	user := s.user()
	d := s.sells(0, engine.SizeStock{Stock: 5})
	held := s.hold(d.ID, user, "")
	must(t, s.redis.ConfigSet(t.Context(), "maxmemory", "1mb").Err())
	must(t, s.redis.Do(t.Context(), "replicaof", "127.0.0.1", "1").Err())
	must(t, s.redis.Do(t.Context(), "replicaof", "no", "one").Err())
	must(t, s.recon.Settle(t.Context()))
	if _, err := s.engine.Purchase(t.Context(), held.ID); err != nil {
		t.Errorf("purchase: %v", err)
	}
	if _, err := s.engine.Reserve(t.Context(), engine.ReserveRequest{Drop: d.ID, User: user}); !errors.Is(err, engine.ErrOverloaded) {
		t.Errorf("reserve: %v", err)
	}
}

// One drop whose counters a foreign hand has spoilt must not take its partition along.
func TestRebuildOfACorruptDrop(t *testing.T) {
	s := newShop(t)
	user := s.user()
	d := s.sells(0, engine.SizeStock{Stock: 5})
	bought, held := s.buy(d.ID, user, ""), s.hold(d.ID, user, "")
	must(t, s.redis.HDel(t.Context(), s.stream(d.ID, "drop:1"), "a:").Err())
	if _, err := s.engine.Stock(t.Context(), []int64{d.ID}); !errors.Is(err, engine.ErrCorrupt) {
		t.Fatalf("stock of drop %d: %v", d.ID, err)
	}
	_, err := s.recon.RebuildDrop(t.Context(), d.ID)
	must(t, err)
	s.wants(d.ID, 3, 1, 1)
	if _, err := s.engine.Purchase(t.Context(), held.ID); err != nil {
		t.Error(err)
	}
	if r, err := s.engine.Purchase(t.Context(), bought.ID); err != nil || !r.Replayed {
		t.Errorf("receipt: %+v, %v", r, err)
	}
}

// A Postgres whose statements take longer than a claim lasts is waited for.
func TestRebuildWithASlowPostgres(t *testing.T) {
	s := newShop(t)
	d := s.sells(0, engine.SizeStock{Stock: 5})
	_, err := s.sql.Exec(t.Context(), `
		CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3.5); RETURN NEW; END $$;
		CREATE TRIGGER slow BEFORE UPDATE OF epoch ON epochs FOR EACH ROW EXECUTE FUNCTION slow()`)
	must(t, err)
	other := s.instance()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); other.recon.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	before := s.engine.Epoch(0)
	s.promote(s.keep())
	harness.Eventually(t, 20*time.Second, func() error {
		_ = s.recon.Settle(t.Context()) // beside the other one
		_, err := s.engine.Reserve(t.Context(), engine.ReserveRequest{Drop: d.ID, User: 1})
		return err
	})
	if after := s.engine.Epoch(0); after > before+2 {
		t.Errorf("epoch %d after %d: rebuilds took each other's place", after, before)
	}
}

// An instance that reaches a Redis which another has replaced says so, and sells
// nothing more there.
func TestSupersededRedis(t *testing.T) {
	s := newShop(t)
	user := s.user()
	d := s.sells(0, engine.SizeStock{Stock: 5})
	s.hold(d.ID, user, "")
	_, err := s.sql.Exec(t.Context(), `UPDATE epochs SET epoch = epoch + 1, admitted = epoch + 1`)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.recon.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	harness.Eventually(t, 10*time.Second, func() error {
		_, err := s.engine.Reserve(t.Context(), engine.ReserveRequest{Drop: d.ID, User: user})
		if !errors.Is(err, engine.ErrFenced) {
			return errors.New("it sells on")
		}
		if !strings.Contains(s.log.String(), "has been replaced by another one") {
			return errors.New("nobody is told")
		}
		return nil
	})
	// An operator who knows better may have it served.
	cancel()
	<-done
	for p := range partitions {
		_, err := s.recon.Rebuild(t.Context(), p)
		must(t, err)
	}
	s.hold(d.ID, user, "")
}
