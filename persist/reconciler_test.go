package persist_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

// shop is a served deployment: engine, reconciler, and a writer when asked.
type shop struct {
	*env
	engine *engine.Engine
	recon  *persist.Reconciler
	reg    *prometheus.Registry
	log    *lines
}

func newShop(t *testing.T) *shop {
	t.Helper()
	h := *harness.New(t)
	// Of its own, since it is promoted, which shows on all of it.
	h.RedisURL = harness.Own(t, harness.OwnOptions{RedisOnly: true}).RedisURL
	s := newEnvOn(t, &h).instance()
	must(t, s.recon.Settle(t.Context()))
	return s
}

// instance is an engine and a reconciler that do not run yet, as another process has them.
func (e *env) instance() *shop {
	e.Helper()
	s := &shop{env: e, reg: prometheus.NewRegistry(), log: &lines{}}
	var err error
	s.engine, err = engine.New(engine.Config{Redis: e.redisClient(), Prefix: e.Prefix, Partitions: partitions})
	must(e, err)
	must(e, s.engine.Start(e.Context()))
	e.Cleanup(s.engine.Stop)
	s.recon, err = persist.NewReconciler(persist.ReconcilerConfig{
		Engine: s.engine, Store: e.store, Webhooks: e.webhooks, Metrics: s.reg, Log: slog.New(slog.NewTextHandler(s.log, nil)),
	})
	must(e, err)
	return s
}

// sells opens a drop; hold lasts a minute.
func (s *shop) sells(limit int64, sizes ...engine.SizeStock) persist.Drop {
	s.Helper()
	d, err := s.store.CreateDrop(s.Context(), persist.NewDrop{
		Name: "x", Start: time.Now().Add(-time.Minute), Hold: time.Minute, Limit: limit, Sizes: sizes,
	})
	must(s, err)
	must(s, s.engine.Open(s.Context(), d.Terms(1)))
	must(s, s.store.MarkOpened(s.Context(), d.ID))
	return d
}

func (s *shop) hold(drop, user int64, size string) engine.Reservation {
	s.Helper()
	r, err := s.engine.Reserve(s.Context(), engine.ReserveRequest{Drop: drop, User: user, Size: size})
	must(s, err)
	return r
}

func (s *shop) buy(drop, user int64, size string) engine.Reservation {
	s.Helper()
	r, err := s.engine.Purchase(s.Context(), s.hold(drop, user, size).ID)
	must(s, err)
	return r
}

func (s *shop) stock(drop int64) engine.Stock {
	s.Helper()
	st, err := s.engine.Stock(s.Context(), []int64{drop})
	must(s, err)
	if st[0] == nil {
		s.Fatalf("drop %d is not in Redis", drop)
	}
	for _, c := range st[0].Sizes {
		if c.Available+c.Held+c.Sold != c.Total || min(c.Available, c.Held, c.Sold) < 0 {
			s.Fatalf("conservation broken: %+v", c)
		}
	}
	return *st[0]
}

func (s *shop) wants(drop, available, held, sold int64) {
	s.Helper()
	if st := s.stock(drop); st.Available != available || st.Held != held || st.Sold != sold {
		s.Errorf("available %d, held %d, sold %d; want %d, %d, %d", st.Available, st.Held, st.Sold, available, held, sold)
	}
}

// persists brings all ends so far to Postgres.
func (s *shop) persists() {
	s.Helper()
	w := s.writer("w", nil)
	s.drain(w)
	ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
	defer cancel()
	must(s, w.Stop(ctx))
}

// claims begins a rebuild.
func (s *shop) claims(partition int) *engine.Rebuild {
	s.Helper()
	standing, err := s.engine.Standing(s.Context(), partition)
	must(s, err)
	claim, err := s.engine.BeginRebuild(s.Context(), partition, standing)
	must(s, err)
	return claim
}

// memory is what Redis has of this test at one moment.
type memory map[string]struct {
	dump string
	ttl  time.Duration
}

func (e *env) keep() memory {
	e.Helper()
	keys, err := e.redis.Keys(e.Context(), e.Prefix+":*").Result()
	must(e, err)
	dumps, ttls := make([]*redis.StringCmd, len(keys)), make([]*redis.DurationCmd, len(keys))
	_, err = e.redis.TxPipelined(e.Context(), func(p redis.Pipeliner) error {
		for i, key := range keys {
			dumps[i], ttls[i] = p.Dump(e.Context(), key), p.PTTL(e.Context(), key)
		}
		return nil
	})
	if !errors.Is(err, redis.Nil) { // a hold that was sold meanwhile
		must(e, err)
	}
	kept := memory{}
	for i, key := range keys {
		if dumps[i].Err() == nil {
			kept[key] = struct {
				dump string
				ttl  time.Duration
			}{dumps[i].Val(), max(ttls[i].Val(), 0)}
		}
	}
	return kept
}

func (e *env) lose() {
	e.Helper()
	keys, err := e.redis.Keys(e.Context(), e.Prefix+":*").Result()
	must(e, err)
	must(e, e.redis.Del(e.Context(), keys...).Err())
}

// promote puts an earlier state in place of the present one, as a fail-over to a
// replica that lagged does. The server becomes a replica (of nobody) and a
// primary again, whereby it gets another replication id.
func (e *env) promote(earlier memory) {
	e.Helper()
	_, err := e.redis.TxPipelined(e.Context(), func(p redis.Pipeliner) error {
		keys, err := e.redis.Keys(e.Context(), e.Prefix+":*").Result()
		if err != nil {
			return err
		}
		p.Do(e.Context(), "replicaof", "127.0.0.1", "1")
		p.Do(e.Context(), "replicaof", "no", "one")
		p.Del(e.Context(), keys...)
		for key, v := range earlier {
			p.RestoreReplace(e.Context(), key, v.ttl, v.dump)
		}
		return nil
	})
	must(e, err)
}

func TestFencedUntilCompared(t *testing.T) {
	s := newShop(t)
	user := s.user()
	d := s.sells(0, engine.SizeStock{Stock: 10})
	held := s.hold(d.ID, user, "")
	s.promote(s.keep())

	if _, err := s.engine.Reserve(t.Context(), engine.ReserveRequest{Drop: d.ID, User: user}); !errors.Is(err, engine.ErrFenced) {
		t.Errorf("reserve: %v", err)
	}
	if _, err := s.engine.Purchase(t.Context(), held.ID); !errors.Is(err, engine.ErrFenced) {
		t.Errorf("purchase: %v", err)
	}
	if err := s.engine.NewExpirer(engine.ExpirerConfig{}).Sweep(t.Context()); !errors.Is(err, engine.ErrFenced) {
		t.Errorf("release: %v", err)
	}
	other := d.Terms(1)
	other.ID += partitions
	if err := s.engine.Open(t.Context(), other); !errors.Is(err, engine.ErrFenced) {
		t.Errorf("open: %v", err)
	}
	if _, err := s.engine.Change(t.Context(), d.ID, engine.Change{Number: 1, State: engine.StatePaused}); !errors.Is(err, engine.ErrFenced) {
		t.Errorf("change: %v", err)
	}
	s.wants(d.ID, 9, 1, 0)
	before := s.engine.Epoch(0)
	must(t, s.recon.Settle(t.Context()))
	for p := range partitions {
		if s.engine.Epoch(p) < before+1 {
			t.Errorf("partition %d is in epoch %d after %d", p, s.engine.Epoch(p), before)
		}
	}
	if _, err := s.engine.Purchase(t.Context(), held.ID); err != nil {
		t.Errorf("purchase of a hold that is still there: %v", err)
	}
	s.wants(d.ID, 9, 0, 1)
}

func TestRebuildOfLostData(t *testing.T) {
	s := newShop(t)
	user := s.user()
	d := s.sells(4, engine.SizeStock{Size: "42", Stock: 10}, engine.SizeStock{Size: "43", Stock: 5})
	bought := s.buy(d.ID, user, "42")
	s.buy(d.ID, user, "43")
	s.persists()
	held := s.hold(d.ID, user, "42")
	accepted := s.buy(d.ID, user, "43") // not in Postgres yet
	version := s.stock(d.ID).Version
	s.lose()
	must(t, s.recon.Settle(t.Context()))

	s.wants(d.ID, 13, 0, 2)
	again, err := s.engine.Purchase(t.Context(), bought.ID)
	must(t, err)
	if again.Replayed = false; again != bought {
		t.Errorf("the repeated purchase has another receipt: %+v, first %+v", again, bought)
	}
	if st := s.stock(d.ID); st.Version <= version {
		t.Errorf("version %d after %d", st.Version, version)
	}
	// What was acknowledged and is gone is named, once.
	must(t, s.recon.Settle(t.Context()))
	for id, kind := range map[int64]string{held.ID: persist.LostHold, accepted.ID: persist.LostPurchase} {
		if n := s.count(`SELECT count(*) FROM lost_work WHERE id = $1 AND kind = $2 AND user_id = $3`, id, kind, user); n != 1 {
			t.Errorf("%s %d is reported %d times", kind, id, n)
		}
	}
	if n := s.count(`SELECT count(*) FROM lost_work`); n != 2 || metric(t, s.reg, "holdfast_lost_work_total") != 2 {
		t.Errorf("%d reports, want 2", n)
	}
	if n := s.log.count("level=ERROR"); n != 2 {
		t.Errorf("%d errors logged, want one a kind", n)
	}
	// The limit counts what was bought.
	for range 2 {
		s.hold(d.ID, user, "42")
	}
	if _, err := s.engine.Reserve(t.Context(), engine.ReserveRequest{Drop: d.ID, User: user, Size: "42"}); !errors.Is(err, engine.ErrLimitReached) {
		t.Errorf("over the limit: %v", err)
	}
}

// Ids never repeat, however often Redis loses its data or goes back.
func TestIdsNeverRepeat(t *testing.T) {
	s := newShop(t)
	user := s.user()
	d := s.sells(0, engine.SizeStock{Stock: 1000})
	early := s.keep()
	seen := map[int64]bool{}
	take := func() {
		t.Helper()
		for range 20 {
			r := s.hold(d.ID, user, "")
			if seen[r.ID] {
				t.Fatalf("id %d was handed out twice", r.ID)
			}
			seen[r.ID] = true
		}
	}
	take()
	for range 3 {
		s.lose()
		must(t, s.recon.Settle(t.Context()))
		take()
		s.promote(early)
		must(t, s.recon.Settle(t.Context()))
		take()
	}
}

// A replica that lagged has holds and units that were sold on the server
// before it: Postgres decides, and the newest holds give way.
func TestRebuildAfterLaggingReplica(t *testing.T) {
	s := newShop(t)
	user := s.user()
	d := s.sells(0, engine.SizeStock{Stock: 4})
	own, cancelled, first, second := s.hold(d.ID, user, ""), s.hold(d.ID, user, ""), s.hold(d.ID, user, ""), s.hold(d.ID, user, "")
	lagging := s.keep()

	_, err := s.engine.Purchase(t.Context(), own.ID)
	must(t, err)
	for _, id := range []int64{cancelled.ID, second.ID} {
		_, err = s.engine.Cancel(t.Context(), id)
		must(t, err)
	}
	sold := s.buy(d.ID, user, "")
	s.persists()
	third := s.buy(d.ID, user, "") // in Redis alone
	s.promote(lagging)
	must(t, s.recon.Settle(t.Context()))

	// Of 4 units own and sold are sold; first is held; second and cancelled are over.
	s.wants(d.ID, 1, 1, 2)
	if _, err := s.engine.Cancel(t.Context(), own.ID); !errors.Is(err, engine.ErrCompleted) {
		t.Errorf("cancel of what was bought: %v", err)
	}
	if r, err := s.engine.Purchase(t.Context(), sold.ID); err != nil || !r.Replayed {
		t.Errorf("receipt: %+v, %v", r, err)
	}
	for _, id := range []int64{cancelled.ID, second.ID} {
		if _, err := s.engine.Purchase(t.Context(), id); !errors.Is(err, engine.ErrCancelled) {
			t.Errorf("purchase of a cancelled hold: %v", err)
		}
	}
	if n := s.count(`SELECT count(*) FROM lost_work WHERE id = $1 AND kind = 'purchase'`, third.ID); n != 1 {
		t.Errorf("the purchase that only the lost server had is reported %d times", n)
	}
	if _, err := s.engine.Purchase(t.Context(), first.ID); err != nil {
		t.Errorf("a hold that both had: %v", err)
	}
	s.persists()
	s.wants(d.ID, 1, 0, 3)
	s.counted(d.ID, "", 3)
}

// All units are held on the replica, one of them was lapsed and sold elsewhere.
func TestRebuildRevokesTheNewestHold(t *testing.T) {
	s := newShop(t)
	user := s.user()
	d := s.sells(0, engine.SizeStock{Stock: 2})
	older, newer := s.hold(d.ID, user, ""), s.hold(d.ID, user, "")
	lagging := s.keep()
	_, err := s.engine.Cancel(t.Context(), older.ID)
	must(t, err)
	s.buy(d.ID, user, "")
	s.persists()
	// Postgres never heard of the cancel.
	_, err = s.sql.Exec(t.Context(), `DELETE FROM reservations WHERE id = $1`, older.ID)
	must(t, err)
	s.promote(lagging)
	must(t, s.recon.Settle(t.Context()))
	s.wants(d.ID, 0, 1, 1)
	if _, err := s.engine.Purchase(t.Context(), newer.ID); !errors.Is(err, engine.ErrCancelled) {
		t.Errorf("purchase of a revoked hold: %v", err)
	}
	if n := s.count(`SELECT count(*) FROM lost_work WHERE id = $1 AND kind = 'revoked'`, newer.ID); n != 1 {
		t.Errorf("the revoked hold is reported %d times", n)
	}
	_, err = s.engine.Purchase(t.Context(), older.ID)
	must(t, err)
	s.persists()
	s.counted(d.ID, "", 2)
}

// A writer that has read from a server which is replaced commits nothing of it
// afterwards: the units may be another's by then.
func TestWriterOfAnEpochBefore(t *testing.T) {
	s := newShop(t)
	user := s.user()
	d := s.sells(0, engine.SizeStock{Stock: 1})
	empty := s.keep()
	lost := s.buy(d.ID, user, "")

	proxy := harness.NewProxy(t, s.DatabaseURL)
	slow, err := persist.Open(persist.Config{URL: proxy.URL(), Timeout: 300 * time.Millisecond, ConnectTimeout: 300 * time.Millisecond})
	must(t, err)
	t.Cleanup(slow.Close)
	proxy.Cut()
	log := &lines{}
	w := s.writer("zombie", func(c *persist.WriterConfig) { c.Store, c.Log = slow, slog.New(slog.NewTextHandler(log, nil)) })
	s.eventually("the writer to have it in hand", func() bool { return log.count("level=ERROR") == 1 })
	s.promote(empty)
	must(t, s.recon.Settle(t.Context()))
	other := s.buy(d.ID, user, "")
	proxy.Restore()
	s.drain(w)
	s.counted(d.ID, "", 1)
	if n := s.count(`SELECT count(*) FROM purchases WHERE id = $1`, other.ID); n != 1 {
		t.Error("the purchase of the new epoch is not there")
	}
	if n := s.count(`SELECT count(*) FROM refused_purchases`); n != 0 {
		t.Errorf("%d purchases refused", n)
	}
	s.eventually("the report", func() bool {
		return s.count(`SELECT count(*) FROM lost_work WHERE id = $1 AND kind = 'purchase'`, lost.ID) == 1
	})
}

// A rebuild has raised the epoch and reads what was sold: a commit in between
// would be sold once more. The rebuild dies, and another one lets the writers go on.
func TestWriterOfAnEpochRaised(t *testing.T) {
	s := newShop(t)
	user := s.user()
	d := s.sells(0, engine.SizeStock{Stock: 2})
	_, err := s.sql.Exec(t.Context(), `UPDATE epochs SET epoch = epoch + 1`)
	must(t, err)
	s.buy(d.ID, user, "")
	w, err := persist.NewWriter(persist.WriterConfig{
		Ledger: s.engine.Ledger(s.redis, "w"), Store: s.store, Block: 20 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	w.Start()
	t.Cleanup(func() { must(t, w.Stop(context.Background())) })
	s.eventually("the writer to have it in hand", func() bool {
		p, err := s.redis.XPending(t.Context(), s.stream(d.ID, "ledger"), "persist").Result()
		return err == nil && p.Count == 1
	})
	for until := time.Now().Add(500 * time.Millisecond); time.Now().Before(until); {
		if n := s.count(`SELECT count(*) FROM purchases`); n != 0 {
			t.Fatal("a commit in an epoch that is over")
		}
	}
	before := s.engine.Epoch(0)
	must(t, s.recon.Settle(t.Context())) // the rebuild may be under way
	if after := s.engine.Epoch(0); after != before {
		t.Errorf("rebuilt at once, in epoch %d after %d", after, before)
	}
	if n := s.count(`SELECT count(*) FROM purchases`); n != 0 {
		t.Fatal("a commit in an epoch that is over")
	}
	_, err = s.sql.Exec(t.Context(), `UPDATE epochs SET raised_at = raised_at - interval '1 minute'`)
	must(t, err)
	must(t, s.recon.Settle(t.Context()))
	s.drain(w)
	s.counted(d.ID, "", 1)
}

// Done is for the server that has the entries, whatever their ids.
func TestDoneOfAnEpochBefore(t *testing.T) {
	s := newShop(t)
	user := s.user()
	d := s.sells(0, engine.SizeStock{Stock: 2})
	p := s.engine.Partition(d.ID)
	s.buy(d.ID, user, "")
	ledger := s.ledger(s.redis, "one")
	must(t, ledger.Init(t.Context(), p))
	entries, err := ledger.Read(t.Context(), p, 10, 0)
	must(t, err)
	epoch, here, err := ledger.Confirm(t.Context(), p, entries)
	must(t, err)
	if epoch != s.engine.Epoch(p) || len(here) != 1 || !here[0] {
		t.Fatalf("epoch %d, %v", epoch, here)
	}
	s.promote(s.keep())
	if epoch, _, err = ledger.Confirm(t.Context(), p, entries); err != nil || epoch != 0 {
		t.Errorf("a fenced server confirms epoch %d, %v", epoch, err)
	}
	must(t, s.recon.Settle(t.Context()))
	if err := ledger.Done(t.Context(), p, s.engine.Epoch(p)-1, []string{entries[0].ID}); !errors.Is(err, engine.ErrFenced) {
		t.Errorf("done in the epoch before: %v", err)
	}
	if n := s.redis.XLen(t.Context(), s.stream(d.ID, "ledger")).Val(); n != 1 {
		t.Errorf("%d entries, want the one", n)
	}
}

// A rebuild that dies leaves the partition fenced, and the next takes over.
func TestRebuildTakenOver(t *testing.T) {
	s := newShop(t)
	d := s.sells(0, engine.SizeStock{Stock: 5})
	p := s.engine.Partition(d.ID)
	claim := s.claims(p)
	if _, err := s.engine.Reserve(t.Context(), engine.ReserveRequest{Drop: d.ID, User: 1}); !errors.Is(err, engine.ErrFenced) {
		t.Errorf("reserve during a rebuild: %v", err)
	}
	if _, err := s.recon.Rebuild(t.Context(), p); !errors.Is(err, engine.ErrBusy) {
		t.Errorf("a second rebuild: %v", err)
	}
	must(t, s.recon.Settle(t.Context())) // waits until the claim is old
	if err := claim.Admit(t.Context(), 1000); !errors.Is(err, engine.ErrFenced) {
		t.Errorf("the first one admits: %v", err)
	}
	if _, _, err := claim.Level(t.Context(), d.ID, engine.Counted{Held: map[string]int64{"": 3}, Force: true}); !errors.Is(err, engine.ErrFenced) {
		t.Errorf("the first one counts: %v", err)
	}
	s.hold(d.ID, 1, "")
	s.wants(d.ID, 4, 1, 0)
	// Nor does it begin anew what was set right since it looked.
	if _, err := s.engine.BeginRebuild(t.Context(), p, claim.Standing); !errors.Is(err, engine.ErrBusy) {
		t.Errorf("a claim that comes late: %v", err)
	}
	s.hold(d.ID, 1, "")
}

// What a rebuild did is lost with the data: it must not go on.
func TestRebuildLosesItsClaim(t *testing.T) {
	s := newShop(t)
	d := s.sells(0, engine.SizeStock{Stock: 5})
	claim := s.claims(s.engine.Partition(d.ID))
	meta := s.stream(d.ID, "meta")
	must(t, s.redis.HSet(t.Context(), meta, "claim", "another's").Err())
	if _, _, err := claim.Level(t.Context(), d.ID, engine.Counted{Held: map[string]int64{"": 3}}); !errors.Is(err, engine.ErrFenced) {
		t.Errorf("counts with another's claim: %v", err)
	}
	if _, _, err := claim.Restore(t.Context(), d.ID, nil); !errors.Is(err, engine.ErrFenced) {
		t.Errorf("restores with another's claim: %v", err)
	}
	s.wants(d.ID, 5, 0, 0)
	s.lose()
	if err := claim.Open(t.Context(), d.Terms(1)); !errors.Is(err, engine.ErrFenced) {
		t.Errorf("open without the claim: %v", err)
	}
	// Nor is the claim made anew when it is renewed.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := claim.Hold(ctx); !errors.Is(err, engine.ErrFenced) {
		t.Errorf("holds on to a claim that is gone: %v", err)
	}
	if n := s.redis.Exists(t.Context(), meta).Val(); n != 0 {
		t.Error("the claim was made anew")
	}
}

// Several instances find Redis changed while all of them sell.
func TestInstancesRebuildTogether(t *testing.T) {
	s := newShop(t)
	user := s.user()
	d := s.sells(0, engine.SizeStock{Stock: 100_000})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	var mu sync.Mutex
	bought, ids := map[int64]bool{}, map[int64]int{}
	for range 3 {
		in := s.instance()
		running.Go(func() { in.recon.Run(ctx) })
		for range 2 {
			running.Go(func() {
				for ctx.Err() == nil {
					r, err := in.engine.Reserve(ctx, engine.ReserveRequest{Drop: d.ID, User: user})
					if err != nil {
						continue
					}
					mu.Lock()
					ids[r.ID]++
					mu.Unlock()
					if r, err = in.engine.Purchase(ctx, r.ID); err == nil {
						mu.Lock()
						bought[r.ID] = true
						mu.Unlock()
					}
				}
			})
		}
	}
	w := s.writer("w", nil)
	sells := func(more int) {
		t.Helper()
		mu.Lock()
		want := len(bought) + more
		mu.Unlock()
		s.eventually("sales to go on", func() bool { mu.Lock(); defer mu.Unlock(); return len(bought) >= want })
	}
	sells(20)
	for range 3 {
		s.promote(s.keep()) // nothing is lost but what happens meanwhile
		sells(20)
	}
	s.lose()
	sells(20)
	cancel()
	running.Wait()
	must(t, s.recon.Settle(t.Context()))
	s.drain(w)
	for id, n := range ids {
		if n != 1 {
			t.Errorf("id %d was handed out %d times", id, n)
		}
	}
	st := s.stock(d.ID)
	s.counted(d.ID, "", st.Sold)
	for id := range bought {
		if n := s.count(`SELECT (SELECT count(*) FROM purchases WHERE id = $1) + (SELECT count(*) FROM lost_work WHERE id = $1 AND kind = 'purchase')`, id); n != 1 {
			t.Errorf("purchase %d is in Postgres or reported %d times", id, n)
		}
	}
}
