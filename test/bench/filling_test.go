package bench

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// filler brings a deployment into a state by the engine in this process, much
// faster than buyers could. Close it before anything is measured.
type filler struct {
	*deployment
	engine *engine.Engine
	client redis.UniversalClient
	store  *persist.Store
	close  func()
}

func (d *deployment) filler() *filler {
	d.Helper()
	f := &filler{deployment: d, client: must(engine.NewClient(engine.ClientConfig{URL: d.redisURL}))}
	f.engine = d.engine(engine.Config{Redis: f.client})
	f.store = must(persist.Open(persist.Config{URL: d.databaseURL}))
	f.close = sync.OnceFunc(func() {
		f.engine.Stop()
		check(f.B, f.client.Close())
		f.store.Close()
	})
	d.Cleanup(f.close)
	return f
}

// each calls do for 0 … n-1, as many at once as there are workers.
func (f *filler) each(workers, n int, do func(i int) error) {
	f.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(workers, n) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && !f.Failed(); i = next.Add(1) - 1 {
				if err := do(int(i)); err != nil {
					f.Errorf("filling: %v", err)
				}
			}
		})
	}
	all.Wait()
	if f.Failed() {
		f.FailNow()
	}
}

// open opens a drop.
func (f *filler) open(units int64, hold time.Duration) (int64, error) {
	ctx := f.Context()
	d, err := f.store.CreateDrop(ctx, persist.NewDrop{
		Name: "Air Runner '26", PriceMinor: 17950, Start: time.Now().Add(-time.Hour), Hold: hold,
		Sizes: []engine.SizeStock{{Stock: units}},
	})
	if err != nil {
		return 0, err
	}
	if err := f.engine.Open(ctx, d.Terms(1)); err != nil {
		return 0, err
	}
	return d.ID, f.store.MarkOpened(ctx, d.ID)
}

// openAll opens n drops.
func (f *filler) openAll(n int, units int64, hold time.Duration) []int64 {
	f.Helper()
	drops := make([]int64, n)
	f.each(8, n, func(i int) (err error) {
		drops[i], err = f.open(units, hold)
		return err
	})
	return drops
}

// hold holds n units, spread over the drops.
func (f *filler) hold(drops []int64, n int) []engine.Reservation {
	f.Helper()
	held := make([]engine.Reservation, n)
	f.each(512, n, func(i int) (err error) {
		held[i], err = f.engine.Reserve(f.Context(), engine.ReserveRequest{Drop: drops[i%len(drops)], User: int64(1 + i%inhabitants)})
		return err
	})
	return held
}

// sell purchases what is held.
func (f *filler) sell(held []engine.Reservation) {
	f.Helper()
	f.each(512, len(held), func(i int) error {
		_, err := f.engine.Purchase(f.Context(), held[i].ID)
		return err
	})
}

// sold makes n units of the drop sold long ago: the history has them, and Redis
// gets them back from there, which no ledger or writer has to be waited for.
func (f *filler) sold(drop int64, n int) {
	f.Helper()
	f.sql(f.databaseURL, fmt.Sprintf(`
		INSERT INTO reservations (id, drop_id, user_id, size, status, created_at, deadline, ended_at)
		SELECT %[1]d + seq, %[2]d, 1 + seq %% %[3]d, '', 'completed', now(), now(), now() FROM generate_series(1, %[4]d) seq;
		INSERT INTO purchases (id, drop_id, user_id, size, pool, purchased_at)
		SELECT %[1]d + seq, %[2]d, 1 + seq %% %[3]d, '', '', now() FROM generate_series(1, %[4]d) seq;
		UPDATE drop_sizes SET sold = %[4]d WHERE drop_id = %[2]d;`,
		engine.ReservationID(drop, 0), drop, inhabitants, n))
	recon := must(persist.NewReconciler(persist.ReconcilerConfig{Engine: f.engine, Store: f.store, Log: slog.New(slog.DiscardHandler)}))
	if r := must(recon.RebuildDrop(f.Context(), drop)); r.Restored != int64(n) {
		f.Fatalf("%d of %d purchases were restored", r.Restored, n)
	}
}
