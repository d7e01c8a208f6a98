package api

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

// BenchmarkReservePath counts the allocations of one reserve, from the request
// that was read to the answer that is to be written: through fiber, the
// combiner, go-redis and a real Redis, with 64 callers at once; and of one
// refusal of a drop that is sold out. docs/PERFORMANCE.md says of each that stays
// why it does.
func BenchmarkReservePath(b *testing.B) {
	handler, e := startHandler(b)
	for drop, c := range map[int64]struct {
		name          string
		stock, status int64
	}{
		1: {"reserved", engine.MaxStock, fasthttp.StatusCreated},
		2: {"sold out", 1, fasthttp.StatusBadRequest},
	} {
		err := e.Open(b.Context(), engine.Drop{
			ID: drop, Start: time.Now().Add(-time.Hour), Hold: time.Hour, Sizes: []engine.SizeStock{{Stock: c.stock}},
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name, func(b *testing.B) {
			if c.stock == 1 {
				_, _ = e.Reserve(b.Context(), engine.ReserveRequest{Drop: drop, User: 1}) // the last; refused in later rounds
			}
			var callers atomic.Int64
			b.SetParallelism(32)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var ctx fasthttp.RequestCtx
				ctx.Init(&fasthttp.Request{}, nil, nil)
				ctx.Request.Header.SetMethod(fasthttp.MethodPost)
				ctx.Request.SetRequestURI("/api/drops/reserve")
				ctx.Request.Header.SetContentType("application/json")
				ctx.Request.SetBodyString(fmt.Sprintf(`{"dropId":%d,"userId":%d}`, drop, 1+callers.Add(1)%100))
				for pb.Next() {
					ctx.Response.Reset()
					handler(&ctx)
					if got := ctx.Response.StatusCode(); got != int(c.status) {
						b.Errorf("%d %s", got, ctx.Response.Body())
						return
					}
				}
			})
		})
	}
}

// startHandler assembles an instance without a listener.
func startHandler(b *testing.B) (fasthttp.RequestHandler, *engine.Engine) {
	b.Helper()
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	env := harness.New(b)
	client, err := engine.NewClient(engine.ClientConfig{URL: env.RedisURL})
	check(err)
	b.Cleanup(func() { check(client.Close()) })
	e, err := engine.New(engine.Config{Redis: client, Prefix: env.Prefix, Standalone: true})
	check(err)
	check(e.Start(b.Context()))
	b.Cleanup(e.Stop)
	store, err := persist.Open(persist.Config{URL: env.DatabaseURL})
	check(err)
	b.Cleanup(store.Close)
	users, err := persist.NewUsers(persist.UsersConfig{Store: store})
	check(err)
	_, err = users.Seed(b.Context(), 100, nil)
	check(err)
	a, err := New(Config{Engine: e, Store: store, Users: users, Admin: harness.AdminToken})
	check(err)
	ctx, cancel := context.WithCancel(context.Background())
	var listening sync.WaitGroup
	listening.Go(func() { e.Listen(ctx, engine.EventHandler{Event: func(engine.Event) {}}) })
	b.Cleanup(func() { cancel(); listening.Wait() })
	a.app.Handler() // has fiber build its table of routes
	return a.app.Server().Handler, e
}
