package engine_test

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// limited are engines of one deployment, as instances have them.
func limited(t *testing.T, n int, change func(*engine.Config)) ([]*engine.Engine, *harness.Env) {
	t.Helper()
	env := harness.New(t)
	engines := make([]*engine.Engine, n)
	for i := range engines {
		engines[i] = startEngine(t, env.RedisURL, env.Prefix, change)
	}
	return engines, env
}

func atMost(holds int64) func(*engine.Config) {
	return func(c *engine.Config) { c.MaxHoldsPerUser = holds }
}

// personKey is where what user 1 holds is noted.
func personKey(env *harness.Env) string { return engine.KeyPrefix(env.Prefix, 16, 1) + "user:1" }

// One person asks two instances for units of many drops, in all partitions, at
// once: never are there more holds than one may have, and what is bought
// or given back makes room.
func TestHoldsAtOnceOverAllDrops(t *testing.T) {
	t.Parallel()
	const drops, most = 20, 3
	engines, env := limited(t, 2, atMost(most))
	for id := range int64(drops) {
		open(t, engines[0], id+1, 100)
	}
	var mu sync.Mutex
	var held []engine.Reservation
	var refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			r, err := engines[i%2].Reserve(t.Context(), engine.ReserveRequest{Drop: int64(i%drops + 1), User: 1})
			switch {
			case err == nil:
				mu.Lock()
				held = append(held, r)
				mu.Unlock()
			case errors.Is(err, engine.ErrTooManyHolds):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// Claims that came to nothing may have kept the last place from others.
	if len(held) == 0 || len(held) > most || int(refused.Load())+len(held) != 200 {
		t.Fatalf("%d held, %d refused", len(held), refused.Load())
	}
	if _, err := engines[0].Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 2}); err != nil {
		t.Errorf("another person: %v", err)
	}
	for len(held) < most {
		held = append(held, reserve(t, engines[0], engine.ReserveRequest{Drop: 1, User: 1}))
	}
	tooMany := func() {
		t.Helper()
		_, err := engines[1].Reserve(t.Context(), engine.ReserveRequest{Drop: 9, User: 1})
		var later *engine.WaitError
		if !errors.Is(err, engine.ErrTooManyHolds) || !errors.As(err, &later) || later.RetryAfter() <= 0 || later.RetryAfter() > time.Minute {
			t.Errorf("one more: %v", err)
		}
	}
	tooMany()
	if _, err := engines[1].Purchase(t.Context(), held[0].ID); err != nil {
		t.Fatal(err)
	}
	reserve(t, engines[0], engine.ReserveRequest{Drop: 8, User: 1})
	tooMany()
	if _, err := engines[0].Cancel(t.Context(), held[1].ID); err != nil {
		t.Fatal(err)
	}
	reserve(t, engines[1], engine.ReserveRequest{Drop: 7, User: 1})
	tooMany()
	if n := env.Redis().ZCard(t.Context(), personKey(env)).Val(); n != most {
		t.Errorf("%d noted, want %d", n, most)
	}
}

func TestHoldThatLapsesMakesRoom(t *testing.T) {
	t.Parallel()
	engines, env := limited(t, 1, atMost(1))
	e := engines[0]
	open(t, e, 1, 10, hold(engine.MinHold))
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
	harness.Eventually(t, 10*time.Second, func() error {
		_, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 1})
		return err
	})
	// What is left of people goes by itself, a while after what it says.
	if ttl := env.Redis().PTTL(t.Context(), personKey(env)).Val(); ttl <= 0 || ttl > 2*time.Minute {
		t.Errorf("the person's key is kept for %v", ttl)
	}
}

// A refusal by the drop leaves nothing behind, a repeat with a key gets its hold
// also when there is room for no other, and counts once.
func TestClaimsThatComeToNothing(t *testing.T) {
	t.Parallel()
	engines, env := limited(t, 1, atMost(1))
	e := engines[0]
	open(t, e, 1, 1)
	open(t, e, 2, 10)
	if _, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 99, User: 1}); !errors.Is(err, engine.ErrDropNotFound) {
		t.Errorf("an unknown drop: %v", err)
	}
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 2})
	if _, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 1, Key: "x"}); !errors.Is(err, engine.ErrOutOfStock) {
		t.Errorf("of a drop that is gone: %v", err)
	}
	if n := env.Redis().Exists(t.Context(), personKey(env)).Val(); n != 0 {
		t.Error("refusals left a trace")
	}
	first := reserve(t, e, engine.ReserveRequest{Drop: 2, User: 1, Key: "k"})
	again := reserve(t, e, engine.ReserveRequest{Drop: 2, User: 1, Key: "k"})
	if !again.Replayed || again.ID != first.ID {
		t.Errorf("%+v is no repeat of %+v", again, first)
	}
	if _, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 2, User: 1, Key: "other"}); !errors.Is(err, engine.ErrTooManyHolds) {
		t.Errorf("another key: %v", err)
	}
	if members := env.Redis().ZRange(t.Context(), personKey(env), 0, -1).Val(); len(members) != 1 || members[0] != strconv.FormatInt(first.ID, 10) {
		t.Errorf("noted: %v", members)
	}
}

func cooling(lapses int64, d time.Duration) func(*engine.Config) {
	return func(c *engine.Config) { c.CooldownLapses, c.Cooldown = lapses, d }
}

// Who lets two holds lapse, of two drops, gets no more for a while from any
// instance; who buys does.
func TestCoolDown(t *testing.T) {
	t.Parallel()
	const cooldown = 6 * time.Second
	engines, _ := limited(t, 2, cooling(2, cooldown))
	open(t, engines[0], 1, 100, hold(engine.MinHold))
	open(t, engines[0], 2, 100, hold(engine.MinHold))
	open(t, engines[0], 3, 100)
	// One is bought, and two are let lapse.
	for range 5 {
		r := reserve(t, engines[0], engine.ReserveRequest{Drop: 3, User: 1})
		if _, err := engines[1].Purchase(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
	}
	reserve(t, engines[0], engine.ReserveRequest{Drop: 1, User: 1})
	last := reserve(t, engines[1], engine.ReserveRequest{Drop: 2, User: 1})
	var later *engine.WaitError
	harness.Eventually(t, 10*time.Second, func() error {
		r, err := engines[0].Reserve(t.Context(), engine.ReserveRequest{Drop: 3, User: 1})
		if err == nil { // the two have not lapsed yet
			_, err = engines[0].Cancel(t.Context(), r.ID)
			return errors.Join(err, errors.New("let through"))
		}
		if !errors.Is(err, engine.ErrCoolingDown) || !errors.As(err, &later) {
			t.Fatal(err)
		}
		return nil
	})
	if wait := later.RetryAfter(); wait <= 0 || wait > cooldown {
		t.Errorf("to wait %v", wait)
	}
	reserve(t, engines[1], engine.ReserveRequest{Drop: 3, User: 2})
	harness.Eventually(t, 3*cooldown, func() error {
		_, err := engines[1].Reserve(t.Context(), engine.ReserveRequest{Drop: 3, User: 1})
		return err
	})
	// One of the two counts no more: the first at the earliest.
	if now, err := engines[0].Now(t.Context()); err != nil || now.Before(last.Deadline.Add(cooldown-time.Second)) {
		t.Errorf("let through at %v, the last lapse was at %v: %v", now, last.Deadline, err)
	}
}

// What ended without a word to the person's key (another tool, a process that
// died) is found before it is held against anybody.
func TestReceiptsAreLookedAtBeforeARefusal(t *testing.T) {
	t.Parallel()
	engines, env := limited(t, 1, func(c *engine.Config) { c.MaxHoldsPerUser, c.CooldownLapses, c.Cooldown = 2, 1, time.Hour })
	e := engines[0]
	tool := startEngine(t, env.RedisURL, env.Prefix) // without the limits
	open(t, e, 1, 10)
	open(t, e, 2, 10)
	a, b := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1}), reserve(t, e, engine.ReserveRequest{Drop: 2, User: 1})
	if _, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 2, User: 1}); !errors.Is(err, engine.ErrTooManyHolds) {
		t.Fatal(err)
	}
	if _, err := tool.Purchase(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := tool.Cancel(t.Context(), b.ID); err != nil {
		t.Fatal(err)
	}
	// As if their deadlines were over.
	for _, r := range []engine.Reservation{a, b} {
		if err := env.Redis().ZAdd(t.Context(), personKey(env), redis.Z{Score: float64(time.Now().Add(-time.Second).UnixMilli()), Member: r.ID}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
}

// A drop may demand a challenge: the last thing that is asked for.
func TestChallengeIsAskedForLast(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	open(t, e, 1, 1, func(d *engine.Drop) { d.Challenge = true })
	ask := func(user int64, key string, passed bool) error {
		_, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: user, Key: key, Passed: passed})
		return err
	}
	if err := ask(1, "k", false); !errors.Is(err, engine.ErrChallengeRequired) {
		t.Errorf("without: %v", err)
	}
	wantStock(t, e, 1, 1, 0, 0)
	if err := ask(1, "k", true); err != nil {
		t.Errorf("passed: %v", err)
	}
	if err := ask(1, "k", false); err != nil {
		t.Errorf("the repeat: %v", err)
	}
	for i, passed := range []bool{false, true} {
		if err := ask(2, fmt.Sprint("other", i), passed); !errors.Is(err, engine.ErrOutOfStock) {
			t.Errorf("of nothing, passed %v: %v", passed, err)
		}
	}
	wantStock(t, e, 1, 0, 1, 0)
	// It is one of the terms.
	d := engine.Drop{ID: 2, Hold: time.Minute, Sizes: []engine.SizeStock{{Stock: 1}}}
	if err := e.Open(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	d.Challenge = true
	if err := e.Open(t.Context(), d); !errors.Is(err, engine.ErrExists) {
		t.Errorf("opened again with a challenge: %v", err)
	}
}
