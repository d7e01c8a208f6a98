package bench

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/lua"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m, harness.Options{Migrate: persist.Migrate})
}

const (
	connections = 64
	rounds      = 3
	roundTime   = 3 * time.Second
	people      = 1000
	// floor is the least ratio of reservations through HTTP to the same script
	// called straight.
	floor = 0.4
)

// BenchmarkReserve prints successful reservations a second through the REST
// API and by the same script straight against the same Redis (appendonly yes,
// appendfsync always), and their ratio: medians of interleaved rounds, with 64
// connections each. It fails below the floor.
//
// The script is called straight in two ways: one reservation a call, as a
// program without the combiner would, and in full batches of 64 over two
// connections, the most that Redis gives.
func BenchmarkReserve(b *testing.B) {
	s := newSale(b)
	for b.Loop() {
		http, single, batched := make([]float64, 0, rounds), make([]float64, 0, rounds), make([]float64, 0, rounds)
		for range rounds {
			http = append(http, s.throughHTTP())
			single = append(single, s.straight(connections, 1))
			batched = append(batched, s.straight(2, 64))
		}
		h, one, full := median(http), median(single), median(batched)
		b.ReportMetric(h, "http/s")
		b.ReportMetric(one, "script/s")
		b.ReportMetric(full, "script64/s")
		b.ReportMetric(h/one, "http:script")
		b.ReportMetric(0, "ns/op")
		fmt.Printf("reservations/s, %d connections, appendfsync always, median of %d rounds of %v (all rounds)\n", connections, rounds, roundTime)
		fmt.Printf("  through HTTP                  %8.0f  %.0f\n", h, http)
		fmt.Printf("  script, one a call            %8.0f  %.0f\n", one, single)
		fmt.Printf("  script, 64 a call, 2 in flight %7.0f  %.0f\n", full, batched)
		fmt.Printf("  ratio HTTP : script           %8.2f  (floor %.1f)\n", h/one, floor)
		fmt.Printf("  ratio HTTP : script by 64     %8.2f\n", h/full)
		if h/one < floor {
			b.Fatalf("ratio %.2f is below the floor of %.1f", h/one, floor)
		}
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// sale is an API with its workers on loopback, and a client of its Redis.
type sale struct {
	b      *testing.B
	env    *harness.Env
	engine *engine.Engine
	addr   string
	drops  int64
}

func newSale(b *testing.B) *sale {
	b.Helper()
	env := harness.New(b)
	client := must(engine.NewClient(engine.ClientConfig{URL: env.RedisURL}))
	e := must(engine.New(engine.Config{Redis: client, Prefix: env.Prefix}))
	check(b, e.Start(b.Context()))
	store := must(persist.Open(persist.Config{URL: env.DatabaseURL}))
	reconciler := must(persist.NewReconciler(persist.ReconcilerConfig{Engine: e, Store: store}))
	check(b, reconciler.Settle(b.Context()))
	users := must(persist.NewUsers(persist.UsersConfig{Store: store}))
	must(users.Seed(b.Context(), people, nil))
	ledger := must(engine.NewClient(engine.ClientConfig{URL: env.RedisURL, PoolSize: 36}))
	w := must(persist.NewWriter(persist.WriterConfig{Ledger: e.Ledger(ledger, "bench"), Store: store}))
	w.Start()
	ctx, cancel := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	workers.Go(func() { e.NewExpirer(engine.ExpirerConfig{}).Run(ctx) })

	a := must(api.New(api.Config{Engine: e, Store: store, Users: users}))
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	workers.Go(func() {
		if err := a.Serve(l); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() {
		stop, done := context.WithTimeout(context.Background(), 5*time.Second)
		defer done()
		check(b, a.Shutdown(stop))
		cancel()
		workers.Wait()
		check(b, w.Stop(stop))
		e.Stop()
		check(b, client.Close())
		check(b, ledger.Close())
		store.Close()
	})
	return &sale{b: b, env: env, engine: e, addr: l.Addr().String()}
}

// open opens the next drop, with more units than a round can sell.
func (s *sale) open() int64 {
	s.drops++
	check(s.b, s.engine.Open(s.b.Context(), engine.Drop{
		ID: s.drops, Start: time.Now().Add(-time.Hour), Hold: time.Hour,
		Sizes: []engine.SizeStock{{Stock: engine.MaxStock}},
	}))
	return s.drops
}

// rate runs work in n goroutines for a round and returns what they did a second.
func (s *sale) rate(n int, drop int64, work func(worker int) (done int64)) float64 {
	var total atomic.Int64
	var wg sync.WaitGroup
	started := time.Now()
	for w := range n {
		wg.Go(func() {
			for time.Since(started) < roundTime {
				total.Add(work(w))
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(started).Seconds()
	stock := must(s.engine.Stock(s.b.Context(), []int64{drop}))[0]
	if stock.Held != total.Load() || stock.Available+stock.Held != stock.Total {
		s.b.Fatalf("%d reserved, but the drop says %+v", total.Load(), stock)
	}
	return float64(total.Load()) / elapsed
}

func (s *sale) throughHTTP() float64 {
	drop := s.open()
	client := &fasthttp.HostClient{Addr: s.addr, MaxConns: connections}
	defer client.CloseIdleConnections()
	return s.rate(connections, drop, func(w int) int64 {
		req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		defer fasthttp.ReleaseRequest(req)
		defer fasthttp.ReleaseResponse(res)
		req.SetRequestURI("http://" + s.addr + "/api/drops/reserve")
		req.Header.SetMethod("POST")
		req.Header.SetContentType("application/json")
		req.SetBodyString(fmt.Sprintf(`{"dropId":%d,"userId":%d}`, drop, 1+w%people))
		if err := client.Do(req, res); err != nil || res.StatusCode() != 201 {
			s.b.Errorf("%d %s %v", res.StatusCode(), res.Body(), err)
			return 0
		}
		return 1
	})
}

// straight calls reserve.lua with batch people a call from n goroutines.
func (s *sale) straight(n, batch int) float64 {
	drop := s.open()
	client := must(engine.NewClient(engine.ClientConfig{URL: s.env.RedisURL, PoolSize: n}))
	defer func() { check(s.b, client.Close()) }()
	p := s.engine.Partition(drop)
	base := engine.KeyPrefix(s.env.Prefix, s.engine.Partitions(), p)
	args := lua.ReserveArgs{
		Meta: base + "meta", Token: strconv.FormatInt(s.engine.Epoch(p), 10), Ledger: base + "ledger", MaxLedger: 1 << 30,
		DropKey:   fmt.Sprintf("%sdrop:%d", base, drop),
		Deadlines: base + "deadlines", Events: base + "events",
		Buyers: fmt.Sprintf("%sbuyers:%d", base, drop), Idem: fmt.Sprintf("%sidem:%d", base, drop),
		HoldPrefix: fmt.Sprintf("%shold:%d:", base, drop), Drop: drop, MaxSeq: 1<<25 - 1,
		Items: make([]lua.ReserveItem, batch),
	}
	for i := range args.Items {
		args.Items[i].User = int64(1 + i)
	}
	return s.rate(n, drop, func(int) int64 {
		reply, err := lua.Reserve(context.Background(), client, args)
		if err != nil {
			s.b.Error(err)
			return 0
		}
		var done int64
		for _, r := range reply.Results {
			if r.Seq > 0 {
				done++
			}
		}
		return done
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Error(err)
	}
}
