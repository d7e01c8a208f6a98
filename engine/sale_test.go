package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

func TestReserveAndPurchase(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	open(t, e, 1, 2)

	r := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 7, Size: "US 9:½"})
	if r.ID != engine.ReservationID(1, 1) || engine.DropOf(r.ID) != 1 || r.User != 7 || r.Size != "US 9:½" ||
		r.Status != engine.StatusActive || r.Deadline.Sub(r.Created) != time.Minute {
		t.Fatalf("reservation %+v", r)
	}
	wantStock(t, e, 1, 1, 1, 0)

	live, err := e.Reservation(t.Context(), r.ID)
	if err != nil || live != r {
		t.Fatalf("live reservation %+v, %v; want %+v", live, err, r)
	}
	receipt, err := e.Purchase(t.Context(), r.ID)
	if err != nil || receipt.Status != engine.StatusCompleted || receipt.Ended.Before(r.Created) || receipt.Replayed {
		t.Fatalf("receipt %+v, %v", receipt, err)
	}
	again, err := e.Purchase(t.Context(), r.ID)
	if err != nil || !again.Replayed {
		t.Fatalf("repeated purchase %+v, %v", again, err)
	}
	again.Replayed = false
	if again != receipt {
		t.Fatalf("receipt %+v, then %+v", receipt, again)
	}
	if _, err := e.Cancel(t.Context(), r.ID); !errors.Is(err, engine.ErrCompleted) {
		t.Fatalf("cancel of a purchase: %v", err)
	}
	done, err := e.Reservation(t.Context(), r.ID)
	if err != nil || done != receipt {
		t.Fatalf("completed reservation %+v, %v", done, err)
	}
	wantStock(t, e, 1, 1, 0, 1)
}

func TestCancelTwiceGivesOneUnitBack(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	open(t, e, 1, 5, limit(1))
	r := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 7})
	for i := range 3 {
		c, err := e.Cancel(t.Context(), r.ID)
		if err != nil || c.Status != engine.StatusCancelled || c.Replayed != (i > 0) {
			t.Fatalf("cancel %d: %+v, %v", i, c, err)
		}
	}
	if _, err := e.Purchase(t.Context(), r.ID); !errors.Is(err, engine.ErrCancelled) {
		t.Fatalf("purchase after cancel: %v", err)
	}
	wantStock(t, e, 1, 5, 0, 0)
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 7}) // the limit is free again
}

func TestRefusals(t *testing.T) { //nolint:tparallel // each case compares the whole key space before and after
	t.Parallel()
	e, env := newEngine(t)
	open(t, e, 1, 1)
	open(t, e, 2, 1, func(d *engine.Drop) { d.Start = time.Now().Add(time.Hour) })
	open(t, e, 3, 1, func(d *engine.Drop) { d.End = time.Now().Add(-time.Minute) })
	open(t, e, 4, 9, limit(2))
	open(t, e, 5, 9, sizes(engine.SizeStock{Size: "41", Stock: 1}, engine.SizeStock{Size: "42", Stock: 8}))
	open(t, e, 6, 9)
	env.Redis().HSet(t.Context(), keyPrefix(env, 6)+"drop:6", "state", "paused")
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
	reserve(t, e, engine.ReserveRequest{Drop: 4, User: 1})
	reserve(t, e, engine.ReserveRequest{Drop: 4, User: 1})
	reserve(t, e, engine.ReserveRequest{Drop: 5, User: 1, Size: "41"})

	for _, c := range []struct {
		name string
		req  engine.ReserveRequest
		want error
	}{
		{"unknown drop", engine.ReserveRequest{Drop: 99, User: 1}, engine.ErrDropNotFound},
		{"impossible drop", engine.ReserveRequest{Drop: -1, User: 1}, engine.ErrDropNotFound},
		{"drop over 24 bits", engine.ReserveRequest{Drop: engine.MaxDropID + 1, User: 1}, engine.ErrDropNotFound},
		{"sold out", engine.ReserveRequest{Drop: 1, User: 2}, engine.ErrOutOfStock},
		{"not started", engine.ReserveRequest{Drop: 2, User: 1}, engine.ErrNotStarted},
		{"ended", engine.ReserveRequest{Drop: 3, User: 1}, engine.ErrEnded},
		{"limit", engine.ReserveRequest{Drop: 4, User: 1}, engine.ErrLimitReached},
		{"no size", engine.ReserveRequest{Drop: 5, User: 1}, engine.ErrSizeRequired},
		{"unknown size", engine.ReserveRequest{Drop: 5, User: 1, Size: "43"}, engine.ErrUnknownSize},
		{"size sold out", engine.ReserveRequest{Drop: 5, User: 1, Size: "41"}, engine.ErrOutOfStock},
		{"paused", engine.ReserveRequest{Drop: 6, User: 1}, engine.ErrPaused},
		{"no user", engine.ReserveRequest{Drop: 1}, engine.ErrInvalid},
		{"control character", engine.ReserveRequest{Drop: 4, User: 2, Size: "a\x00"}, engine.ErrInvalid},
		{"long key", engine.ReserveRequest{Drop: 4, User: 2, Key: strings.Repeat("k", engine.MaxKey+1)}, engine.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := snapshot(t, env)
			_, err := e.Reserve(t.Context(), c.req)
			wantErr(t, err, c.want)
			if after := snapshot(t, env); after != before {
				t.Fatalf("the refusal left a trace:\n%s\n%s", before, after)
			}
		})
	}
	for _, id := range []int64{0, -1, 1, engine.ReservationID(1, 2), engine.ReservationID(99, 1), engine.MaxID, engine.MaxID + 1} {
		_, err := e.Purchase(t.Context(), id)
		wantErr(t, err, engine.ErrReservationNotFound)
		_, err = e.Cancel(t.Context(), id)
		wantErr(t, err, engine.ErrReservationNotFound)
		_, err = e.Reservation(t.Context(), id)
		wantErr(t, err, engine.ErrReservationNotFound)
	}
}

// snapshot is a digest of all keys of the test.
func snapshot(t testing.TB, env *harness.Env) string {
	t.Helper()
	c := env.Redis()
	keys, err := c.Keys(t.Context(), env.Prefix+":*").Result()
	if err != nil {
		t.Fatal(err)
	}
	parts := make([]string, 0, len(keys))
	for _, k := range keys {
		dump, err := c.Dump(t.Context(), k).Result()
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, k+dump)
	}
	slices.Sort(parts)
	return strings.Join(parts, "\n")
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	open(t, e, 1, 1)
	ask := engine.ReserveRequest{Drop: 1, User: 7, Size: "42", Key: "k1"}
	first := reserve(t, e, ask)
	again := reserve(t, e, ask) // although the drop is sold out by now
	if !again.Replayed || again.ID != first.ID || !again.Deadline.Equal(first.Deadline) {
		t.Fatalf("replay %+v of %+v", again, first)
	}
	wantStock(t, e, 1, 0, 1, 0)
	for _, other := range []engine.ReserveRequest{
		{Drop: 1, User: 8, Size: "42", Key: "k1"},
		{Drop: 1, User: 7, Size: "43", Key: "k1"},
	} {
		_, err := e.Reserve(t.Context(), other)
		wantErr(t, err, engine.ErrIdempotencyConflict)
	}
	// A refusal is not remembered: the key is free when stock is back.
	refused := engine.ReserveRequest{Drop: 1, User: 9, Key: "k2"}
	_, err := e.Reserve(t.Context(), refused)
	wantErr(t, err, engine.ErrOutOfStock)
	if _, err := e.Cancel(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	if r := reserve(t, e, refused); r.Replayed {
		t.Fatal("a refusal was replayed as a reservation")
	}
}

func TestSameKeyAtOnceTakesOneUnit(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	open(t, e, 1, 100)
	var ids sync.Map
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			r, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 7, Key: "same"})
			if err != nil {
				t.Error(err)
			}
			ids.Store(r.ID, true)
		})
	}
	wg.Wait()
	n := 0
	ids.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Fatalf("%d reservations for one key", n)
	}
	wantStock(t, e, 1, 99, 1, 0)
}

func TestStormNeverOversells(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		changes []func(*engine.Drop)
		tries   int
		sizes   []string
	}{
		{"one pool", nil, 1, []string{""}},
		{"sizes", []func(*engine.Drop){sizes(
			engine.SizeStock{Size: "41", Stock: 30}, engine.SizeStock{Size: "42", Stock: 30}, engine.SizeStock{Size: "43", Stock: 40},
		)}, 1, []string{"41", "42", "43"}},
		{"limit of one, five tries", []func(*engine.Drop){limit(1)}, 5, []string{""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, env := newEngine(t)
			engines := []*engine.Engine{a, startEngine(t, env.RedisURL, env.Prefix), startEngine(t, env.RedisURL, env.Prefix)}
			open(t, a, 1, 100, c.changes...)
			var held, bought atomic.Int64
			perUser := make([]int, 2001)
			var wg sync.WaitGroup
			for user := 1; user <= 2000; user++ {
				wg.Go(func() {
					e := engines[user%len(engines)]
					for range c.tries {
						size := c.sizes[rand.IntN(len(c.sizes))]
						r, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: int64(user), Size: size})
						if err != nil {
							if !errors.Is(err, engine.ErrOutOfStock) && !errors.Is(err, engine.ErrLimitReached) {
								t.Error(err)
							}
							continue
						}
						held.Add(1)
						perUser[user]++
						if _, err := engines[(user+1)%len(engines)].Purchase(t.Context(), r.ID); err != nil {
							t.Error(err)
						}
						bought.Add(1)
					}
				})
			}
			wg.Wait()
			if held.Load() != 100 || bought.Load() != 100 {
				t.Fatalf("held %d, bought %d, want 100", held.Load(), bought.Load())
			}
			if c.tries > 1 {
				for user, n := range perUser {
					if n > 1 {
						t.Fatalf("user %d got %d", user, n)
					}
				}
			}
			wantStock(t, a, 1, 0, 0, 100)
		})
	}
}

func TestPurchaseAndCancelRace(t *testing.T) {
	t.Parallel()
	e, env := newEngine(t)
	other := startEngine(t, env.RedisURL, env.Prefix)
	open(t, e, 1, 200)
	var wg sync.WaitGroup
	var sold, back atomic.Int64
	for user := range int64(200) {
		r := reserve(t, e, engine.ReserveRequest{Drop: 1, User: user + 1})
		wg.Go(func() {
			if _, err := e.Purchase(context.WithoutCancel(t.Context()), r.ID); err == nil {
				sold.Add(1)
			} else if !errors.Is(err, engine.ErrCancelled) {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := other.Cancel(context.WithoutCancel(t.Context()), r.ID); err == nil {
				back.Add(1)
			} else if !errors.Is(err, engine.ErrCompleted) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if sold.Load()+back.Load() != 200 {
		t.Fatalf("sold %d + given back %d, want 200", sold.Load(), back.Load())
	}
	wantStock(t, e, 1, back.Load(), 0, sold.Load())
}

func TestOpenAgain(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	d := open(t, e, 1, 10)
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
	if err := e.Open(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	wantStock(t, e, 1, 9, 1, 0)
	d.Sizes = []engine.SizeStock{{Stock: 11}}
	wantErr(t, e.Open(t.Context(), d), engine.ErrExists)

	// A drop that Redis lost is opened from the history: sold stays sold, ids do not repeat.
	open(t, e, 2, 10, func(d *engine.Drop) { d.Sizes[0].Sold = 4; d.FirstSeq = 1000 })
	wantStock(t, e, 2, 6, 0, 4)
	if r := reserve(t, e, engine.ReserveRequest{Drop: 2, User: 1}); r.ID != engine.ReservationID(2, 1000) {
		t.Fatalf("id %d", r.ID)
	}
}

func TestOpenRefusesBadTerms(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	for name, change := range map[string]func(*engine.Drop){
		"id 0":           func(d *engine.Drop) { d.ID = 0 },
		"id over bits":   func(d *engine.Drop) { d.ID = engine.MaxDropID + 1 },
		"short hold":     hold(engine.MinHold - 1),
		"long hold":      hold(engine.MaxHold + 1),
		"negative limit": limit(-1),
		"no sizes":       sizes(),
		"no stock":       sizes(engine.SizeStock{}),
		"too much":       sizes(engine.SizeStock{Stock: engine.MaxStock + 1}),
		"twice":          sizes(engine.SizeStock{Size: "a", Stock: 1}, engine.SizeStock{Size: "a", Stock: 1}),
		"unnamed":        sizes(engine.SizeStock{Size: "a", Stock: 1}, engine.SizeStock{Stock: 1}),
		"sold over":      sizes(engine.SizeStock{Stock: 1, Sold: 2}),
		"ends first":     func(d *engine.Drop) { d.End = d.Start },
		"bad utf-8":      sizes(engine.SizeStock{Size: "\xff", Stock: 1}),
	} {
		d := engine.Drop{ID: 1, Start: time.Now(), Hold: time.Minute, Sizes: []engine.SizeStock{{Stock: 1}}}
		change(&d)
		if err := e.Open(t.Context(), d); !errors.Is(err, engine.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPartitionsAreFixed(t *testing.T) {
	t.Parallel()
	_, env := newEngine(t)
	for _, other := range []int{1, 2, 8, 15, 17, 32, 1024} { // of 16
		e, err := engine.New(engine.Config{Redis: env.Redis(), Prefix: env.Prefix, Partitions: other})
		if err != nil {
			t.Fatal(err)
		}
		wantErr(t, e.Start(t.Context()), engine.ErrInvalid)
	}
}

// Before partitions had tags of their own, their keys bore their bare numbers.
func TestKeysOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	env := harness.New(t)
	old := startEngine(t, env.RedisURL, env.Prefix)
	open(t, old, 1, 10)
	open(t, old, 16, 10)
	held := reserve(t, old, engine.ReserveRequest{Drop: 1, User: 1, Key: "k"})
	bought, err := old.Purchase(t.Context(), reserve(t, old, engine.ReserveRequest{Drop: 16, User: 2}).ID)
	if err != nil {
		t.Fatal(err)
	}
	client := env.Redis()
	for p := range old.Partitions() {
		prefix := keyPrefix(env, int64(p))
		keys, err := client.Keys(t.Context(), prefix+"*").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			was := fmt.Sprintf("%s:{%d}:%s", env.Prefix, p, strings.TrimPrefix(key, prefix))
			if strings.HasSuffix(key, ":meta") {
				err = client.Del(t.Context(), key).Err()
			} else {
				err = client.Rename(t.Context(), key, was).Err()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	mark := env.Prefix + ":{0}:meta"
	if err := errors.Join(client.Del(t.Context(), env.Prefix+":partitions").Err(), client.HSet(t.Context(), mark, "partitions", 8).Err()); err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(engine.Config{Redis: client, Prefix: env.Prefix, Standalone: true})
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, e.Start(t.Context()), engine.ErrInvalid)
	client.HSet(t.Context(), mark, "partitions", 16)
	e = startEngine(t, env.RedisURL, env.Prefix)
	wantStock(t, e, 1, 9, 1, 0)
	wantStock(t, e, 16, 9, 0, 1)
	if again := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1, Key: "k"}); again.ID != held.ID {
		t.Errorf("replay: %+v", again)
	}
	if again, err := e.Purchase(t.Context(), bought.ID); err != nil || !again.Replayed {
		t.Errorf("repeated purchase: %+v, %v", again, err)
	}
	if _, err := e.Purchase(t.Context(), held.ID); err != nil {
		t.Error(err)
	}
	if info, err := e.LedgerInfo(t.Context()); err != nil || info.Length != 2 {
		t.Errorf("ledger %+v, %v", info, err)
	}
	if n := client.Exists(t.Context(), mark).Val(); n != 0 {
		t.Error("the mark of the earlier version is there still")
	}
}

func TestCorruptCountersRefuse(t *testing.T) {
	t.Parallel()
	e, env := newEngine(t)
	open(t, e, 1, 10)
	r := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
	env.Redis().HIncrBy(t.Context(), keyPrefix(env, 1)+"drop:1", "a:", 1) // a foreign hand
	_, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 2})
	wantErr(t, err, engine.ErrCorrupt)
	_, err = e.Purchase(t.Context(), r.ID)
	wantErr(t, err, engine.ErrCorrupt)
}

func TestScriptFlushIsHarmless(t *testing.T) {
	t.Parallel()
	e, env := newEngine(t)
	open(t, e, 1, 10)
	for user := range int64(5) {
		env.Redis().ScriptFlush(t.Context())
		r := reserve(t, e, engine.ReserveRequest{Drop: 1, User: user + 1})
		env.Redis().ScriptFlush(t.Context())
		if _, err := e.Purchase(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
	}
	wantStock(t, e, 1, 5, 0, 5)
}

func TestDeadRedisIsUnavailable(t *testing.T) {
	t.Parallel()
	client, err := engine.NewClient(engine.ClientConfig{URL: "redis://127.0.0.1:1/0", Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	e, err := engine.New(engine.Config{Redis: client})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	wantErr(t, e.Start(t.Context()), engine.ErrUnavailable)
	_, err = e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 1})
	wantErr(t, err, engine.ErrUnavailable)
	_, err = e.Purchase(t.Context(), engine.ReservationID(1, 1))
	wantErr(t, err, engine.ErrUnavailable)
	_, err = e.Holds(t.Context(), 1, 10)
	wantErr(t, err, engine.ErrUnavailable)
	_, err = e.Overdue(t.Context(), 1)
	wantErr(t, err, engine.ErrUnavailable)
	_, err = e.LedgerInfo(t.Context())
	wantErr(t, err, engine.ErrUnavailable)
}
