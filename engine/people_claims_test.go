package engine_test

import (
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

func smallAndMedium() func(*engine.Drop) {
	return sizes(engine.SizeStock{Size: "S", Stock: 500}, engine.SizeStock{Size: "M", Stock: 500})
}

// answerLost makes it as if the person had never been told of a hold by its key:
// a claim stands in its place.
func answerLost(t *testing.T, env *harness.Env, r engine.Reservation, claims ...string) {
	t.Helper()
	client := env.Redis()
	if err := client.ZRem(t.Context(), personKey(env), r.ID).Err(); err != nil {
		t.Fatal(err)
	}
	for _, c := range claims {
		if err := client.ZAdd(t.Context(), personKey(env), redis.Z{Score: float64(r.Deadline.UnixMilli()), Member: c}).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// The claim of a hold whose answer was lost stands, whatever the key is used for
// next, until the hold itself is noted.
func TestWrongRepeatLeavesTheClaimOfItsKey(t *testing.T) {
	t.Parallel()
	engines, env := limited(t, 1, atMost(1))
	e := engines[0]
	open(t, e, 1, 1000, smallAndMedium())
	open(t, e, 2, 1000)
	first := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1, Size: "S", Key: "a:b"})
	answerLost(t, env, first, "k:1:a:b:LOST", "k:1:a:b:TOO")
	tooMany := func(when string) {
		t.Helper()
		if _, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 2, User: 1}); !errors.Is(err, engine.ErrTooManyHolds) {
			t.Errorf("%s: %v", when, err)
		}
	}
	tooMany("before the repeat")
	if _, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 1, Size: "M", Key: "a:b"}); !errors.Is(err, engine.ErrIdempotencyConflict) {
		t.Errorf("the key with another size: %v", err)
	}
	tooMany("after a wrong repeat")
	if again := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1, Size: "S", Key: "a:b"}); again.ID != first.ID {
		t.Errorf("the repeat got %d, want %d", again.ID, first.ID)
	}
	if members := env.Redis().ZRange(t.Context(), personKey(env), 0, -1).Val(); len(members) != 1 || members[0] != strconv.FormatInt(first.ID, 10) {
		t.Errorf("noted: %v", members)
	}
	tooMany("after the repeat")
}

// However often a call with one key is lost, it counts as one.
func TestClaimsOfOneKeyCountAsOne(t *testing.T) {
	t.Parallel()
	engines, env := limited(t, 1, atMost(2))
	e := engines[0]
	open(t, e, 1, 10)
	open(t, e, 2, 10)
	lost := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1, Key: "k"})
	answerLost(t, env, lost, "k:1:k:A", "k:1:k:B", "k:1:k:C")
	reserve(t, e, engine.ReserveRequest{Drop: 2, User: 1})
	var later *engine.WaitError
	_, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 2, User: 1})
	if !errors.Is(err, engine.ErrTooManyHolds) || !errors.As(err, &later) || later.RetryAfter() <= 0 || later.RetryAfter() > time.Minute {
		t.Errorf("a third: %v", err)
	}
}

// Calls with one key at once, right and wrong ones, and calls without: never are
// there more holds than one may have.
func TestHoldsAtOnceWithOneKey(t *testing.T) {
	t.Parallel()
	engines, _ := limited(t, 2, atMost(1))
	const drops = 20
	for id := range int64(drops) {
		open(t, engines[0], id+1, 1000, smallAndMedium())
	}
	for round := range 60 {
		user := int64(round + 1)
		var held sync.Map
		var wg sync.WaitGroup
		ask := func(i int, r engine.ReserveRequest) {
			wg.Go(func() {
				got, err := engines[i%2].Reserve(t.Context(), r)
				switch {
				case err == nil:
					held.Store(got.ID, true)
				case !errors.Is(err, engine.ErrTooManyHolds) && !errors.Is(err, engine.ErrIdempotencyConflict):
					t.Error(err)
				}
			})
		}
		for i := range 8 {
			ask(i, engine.ReserveRequest{Drop: 1, User: user, Size: []string{"S", "M"}[i%2], Key: strconv.Itoa(round)})
		}
		for i := range 30 {
			ask(i, engine.ReserveRequest{Drop: int64(i%(drops-1) + 2), User: user, Size: "S"})
		}
		wg.Wait()
		n := 0
		held.Range(func(any, any) bool { n++; return true })
		if n > 1 {
			t.Fatalf("round %d: %d held", round, n)
		}
	}
}

// Thousands may have been noted while the limit was greater, or none.
func TestRefusalOfWhoHoldsThousands(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*engine.Config){"holds": atMost(engine.MaxPerPerson), "lapses": cooling(engine.MaxPerPerson, time.Hour)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engines, env := limited(t, 1, change)
			e := engines[0]
			open(t, e, 1, 10)
			score, want := time.Now().Add(time.Minute), engine.ErrTooManyHolds
			if name == "lapses" {
				score, want = time.Now().Add(-time.Minute), engine.ErrCoolingDown
			}
			members := make([]redis.Z, 8500)
			for i := range members {
				members[i] = redis.Z{Score: float64(score.UnixMilli()), Member: engine.ReservationID(1, int64(i+100))}
			}
			if err := env.Redis().ZAdd(t.Context(), personKey(env), members...).Err(); err != nil {
				t.Fatal(err)
			}
			if _, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 1}); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}

// What may count is found to be settled also where it is as much as a limit can be.
func TestReceiptsOfAsManyHoldsAsMayBe(t *testing.T) {
	t.Parallel()
	engines, env := limited(t, 1, atMost(engine.MaxPerPerson))
	e := engines[0]
	open(t, e, 1, 10)
	earliest := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
	if _, err := startEngine(t, env.RedisURL, env.Prefix).Purchase(t.Context(), earliest.ID); err != nil { // it has no limits to note
		t.Fatal(err)
	}
	members := make([]redis.Z, engine.MaxPerPerson-1)
	for i := range members {
		members[i] = redis.Z{Score: float64(earliest.Deadline.Add(time.Minute).UnixMilli()), Member: engine.ReservationID(1, int64(i+100))}
	}
	if err := env.Redis().ZAdd(t.Context(), personKey(env), members...).Err(); err != nil {
		t.Fatal(err)
	}
	reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1})
}

func TestLimitsOfPeopleAreBounded(t *testing.T) {
	t.Parallel()
	client := harness.New(t).Redis()
	for name, cfg := range map[string]engine.Config{
		"holds": {MaxHoldsPerUser: engine.MaxPerPerson + 1}, "lapses": {CooldownLapses: engine.MaxPerPerson + 1},
	} {
		cfg.Redis = client
		if _, err := engine.New(cfg); !errors.Is(err, engine.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// While nobody serves a drop, who asks for it again and again is not held to
// hold anything: of another drop they get a unit.
func TestCallsThatReachNobodyLeaveNoClaim(t *testing.T) {
	t.Parallel()
	c := harness.OwnCluster(t, harness.ClusterOptions{NoReplicas: true})
	e := startEngine(t, c.RedisURL, c.Prefix, atMost(1))
	home := c.Slot(personKey(&c.Env))
	var away, near int64
	for _, d := range everywhere(t, e, 10) {
		if c.Master(slotOf(c, d)) == c.Master(home) {
			near = d
		} else {
			away = d
		}
	}
	for _, d := range []int64{away, near} { // how long its holds last is known then
		if _, err := e.Cancel(t.Context(), reserve(t, e, engine.ReserveRequest{Drop: d, User: 1}).ID); err != nil {
			t.Fatal(err)
		}
	}
	client := c.Master(home).Redis()
	c.Master(slotOf(c, away)).Kill()
	// A connection from before may have taken a call with it, whose claim stands.
	if _, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: away, User: 2}); err == nil {
		t.Fatal("somebody serves the drop")
	}
	for i := range 5 {
		if _, err := e.Reserve(t.Context(), engine.ReserveRequest{Drop: away, User: 1}); !errors.Is(err, engine.ErrUnavailable) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if left := client.ZRange(t.Context(), personKey(&c.Env), 0, -1).Val(); len(left) > 0 {
		t.Errorf("claims that stand: %v", left)
	}
	reserve(t, e, engine.ReserveRequest{Drop: near, User: 1})
}
