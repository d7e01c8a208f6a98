package bench

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

// crowdOf has n workers do work for a while, and gives how often a second it
// succeeded.
func (s *stage) crowdOf(n int, work func() (bool, error)) (rate float64, done int64) {
	s.Helper()
	var total atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range n {
		all.Go(func() {
			for time.Since(began) < s.plan.turn {
				ok, err := work()
				switch {
				case err != nil:
					s.Error(err)
					return
				case ok:
					total.Add(1)
				}
			}
		})
	}
	all.Wait()
	return float64(total.Load()) / time.Since(began).Seconds(), total.Load()
}

// leastScript is the least that takes a unit from stock for a while: a counter,
// an id and a key with a TTL. It keeps none of Holdfast's promises but that it does
// not oversell: no sweep, no ledger, no fence, no check.
var leastScript = redis.NewScript(`
if tonumber(redis.call('GET', KEYS[1]) or 0) < 1 then return 0 end
redis.call('DECR', KEYS[1])
local id = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[3] .. id, ARGV[1], 'PX', ARGV[2])
return id`)

// leastRedis calls the script once a reservation, from so many connections,
// without HTTP.
type leastRedis struct {
	s      *stage
	client redis.UniversalClient
}

func (s *stage) leastRedis(workers int, settings ...string) *leastRedis {
	s.Helper()
	o := must(redis.ParseURL(harness.Own(s, harness.OwnOptions{RedisOnly: true, RedisArgs: settings}).RedisURL))
	o.PoolSize, o.MaxRetries = workers, -1
	client := redis.NewClient(o)
	s.Cleanup(func() { check(s.B, client.Close()) })
	return &leastRedis{s, client}
}

// rate is how many calls a second found stock, or found none.
func (l *leastRedis) rate(workers int, units int64) float64 {
	s, ctx := l.s, l.s.Context()
	s.Helper()
	check(s.B, l.client.Del(ctx, "{drop}seq").Err())
	check(s.B, l.client.Set(ctx, "{drop}stock", units, 0).Err())
	rate, done := s.crowdOf(workers, func() (bool, error) {
		id, err := leastScript.Run(ctx, l.client, []string{"{drop}stock", "{drop}seq", "{drop}hold:"}, "1", time.Hour.Milliseconds()).Int64()
		return (id > 0) == (units > 0), err
	})
	if units > 0 {
		if given := must(l.client.Get(ctx, "{drop}seq").Int64()); given != done {
			s.Errorf("the least script gave %d units to %d", given, done)
		}
	}
	return rate
}

func (s *stage) redisReserves(workers int) []turn {
	s.Helper()
	bare, safe := s.leastRedis(workers, "--appendonly", "no"), s.leastRedis(workers)
	return []turn{
		{redisOnly, func() float64 { return bare.rate(workers, plenty) }},
		{redisFsync, func() float64 { return safe.rate(workers, plenty) }},
	}
}

func (s *stage) redisSoldOut(workers int) []turn {
	s.Helper()
	safe := s.leastRedis(workers)
	return []turn{{redisFsync, func() float64 { return safe.rate(workers, 0) }}}
}

// engineReserves measure the engine in this process, without HTTP: as it is,
// and as if each reservation were a call of its own.
func (s *stage) engineReserves(workers int) []turn {
	s.Helper()
	d := s.deploy()
	var drops int64
	run := func(cfg engine.Config) func() float64 {
		return func() float64 {
			drops++
			cfg.Redis = must(engine.NewClient(engine.ClientConfig{URL: d.redisURL, PoolSize: workers}))
			e := d.engine(cfg)
			defer func() { e.Stop(); check(s.B, cfg.Redis.Close()) }()
			check(s.B, e.Open(s.Context(), engine.Drop{
				ID: drops, Start: time.Now().Add(-time.Hour), Hold: time.Hour, Sizes: []engine.SizeStock{{Stock: plenty}},
			}))
			rate, done := s.crowdOf(workers, func() (bool, error) {
				_, err := e.Reserve(s.Context(), engine.ReserveRequest{Drop: drops, User: 1})
				return err == nil, err
			})
			if stock := must(e.Stock(s.Context(), []int64{drops}))[0]; stock.Held != done || stock.Available+done != stock.Total {
				s.Errorf("the engine held %d units, but the drop says %+v", done, stock)
			}
			return rate
		}
	}
	return []turn{
		{engineBatch, run(engine.Config{})},
		{engineSingle, run(engine.Config{MaxBatch: 1, InFlight: workers})},
	}
}

// engine is one of the deployment's in this process; cfg has its Redis.
func (d *deployment) engine(cfg engine.Config) *engine.Engine {
	d.Helper()
	cfg.Prefix, cfg.Partitions = prefix, partitions
	e := must(engine.New(cfg))
	check(d.B, e.Start(d.Context()))
	store := must(persist.Open(persist.Config{URL: d.databaseURL}))
	defer store.Close()
	recon := must(persist.NewReconciler(persist.ReconcilerConfig{Engine: e, Store: store, Log: slog.New(slog.DiscardHandler)}))
	ctx, cancel := context.WithTimeout(d.Context(), time.Minute)
	defer cancel()
	if err := recon.Settle(ctx); err != nil {
		d.Fatal(errors.Join(errors.New("the partitions are not served"), err))
	}
	return e
}
