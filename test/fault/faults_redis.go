package fault

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// act is a fault that is told in two steps.
type act struct {
	name        string
	begin, mend func(w *world) error
}

func (f act) String() string        { return f.name }
func (f act) inject(w *world) error { return f.begin(w) }
func (f act) heal(w *world) error   { return f.mend(w) }
func nothing(*world) error          { return nil }
func always(do func(*world)) func(*world) error {
	return func(w *world) error { do(w); return nil }
}

// nagging is a fault that happens again and again.
type nagging struct {
	name  string
	every time.Duration
	do    func(ctx context.Context, w *world)
	mend  func(w *world) error // nil: nothing

	stop, gone chan struct{}
}

func (f *nagging) String() string { return f.name }

func (f *nagging) inject(w *world) error {
	f.stop, f.gone = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(f.gone)
		tick := time.NewTicker(f.every)
		defer tick.Stop()
		for {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			f.do(ctx, w) // what it cannot do now it does later
			cancel()
			select {
			case <-f.stop:
				return
			case <-tick.C:
			}
		}
	}()
	return nil
}

func (f *nagging) heal(w *world) error {
	close(f.stop)
	<-f.gone
	if f.mend == nil {
		return nil
	}
	return f.mend(w)
}

// lostRedisReplies has a script run and its answer lost, again and again.
func lostRedisReplies() fault {
	return &nagging{
		name: "replies of Redis lost", every: 70 * time.Millisecond,
		do:   func(_ context.Context, w *world) { w.redisReplies.DropNextReply("evalsha") },
		mend: always(func(w *world) { w.redisReplies.Pass() }),
	}
}

func redisPaused() fault {
	return act{"Redis paused",
		always(func(w *world) { w.own.PauseRedis() }), always(func(w *world) { w.own.ResumeRedis() })}
}

func redisKilled() fault {
	return act{"Redis killed",
		always(func(w *world) { w.own.KillRedis() }), always(func(w *world) { w.own.StartRedis() })}
}

// masters are the servers that take writes now.
func (w *world) masters() (all []*redis.Client) {
	switch c := w.redis.(type) {
	case *redis.ClusterClient:
		for _, n := range w.cluster.Nodes {
			if n.Answers() {
				all = append(all, n.Redis())
			}
		}
	case *redis.Client:
		all = append(all, c)
	}
	return all
}

func (w *world) everywhere(ctx context.Context, args ...any) error {
	masters := w.masters()
	errs := make([]error, 0, len(masters))
	for _, c := range masters {
		errs = append(errs, c.Do(ctx, args...).Err())
	}
	return errors.Join(errs...)
}

func scriptsFlushed() fault {
	return &nagging{name: "SCRIPT FLUSH and CONFIG RESETSTAT", every: 100 * time.Millisecond,
		do: func(ctx context.Context, w *world) {
			_ = w.everywhere(ctx, "script", "flush")
			_ = w.everywhere(ctx, "config", "resetstat")
		}}
}

func clientsKilled() fault {
	return &nagging{name: "CLIENT KILL of everything", every: 300 * time.Millisecond,
		do: func(ctx context.Context, w *world) {
			for _, kind := range []string{"normal", "pubsub"} {
				_ = w.everywhere(ctx, "client", "kill", "type", kind)
			}
		}}
}

func notificationsOff() fault {
	set := func(to string) func(w *world) error {
		return func(w *world) error {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			return errors.Join(
				w.everywhere(ctx, "config", "set", "notify-keyspace-events", to),
				w.everywhere(ctx, "client", "kill", "type", "pubsub"))
		}
	}
	return act{"expiry notifications off, subscribers killed", set(""), set("Ex")}
}

// falseExpiries tells of expired keys that are not: each live hold, again and
// again, and some that never were.
func falseExpiries() fault {
	return &nagging{name: "false and duplicate expired events", every: 50 * time.Millisecond,
		do: func(ctx context.Context, w *world) {
			for p := range int64(partitions) {
				members, err := w.redis.ZRange(ctx, w.key(p, "deadlines"), 0, 20).Result()
				if err != nil {
					return
				}
				for _, m := range append(members, "1:33000000:1:1:1:") {
					f := strings.SplitN(m, ":", 3)
					_ = w.everywhere(ctx, "publish", "__keyevent@0__:expired", w.key(p, "hold:"+f[0]+":"+f[1]))
				}
			}
		}}
}

// memoryFull leaves Redis no room for anything new.
func memoryFull() fault {
	set := func(maxmemory func(used int64) int64) func(w *world) error {
		return func(w *world) error {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			for _, c := range w.masters() {
				info, err := c.Info(ctx, "memory").Result()
				if err != nil {
					return err
				}
				_, rest, _ := strings.Cut(info, "used_memory:")
				used, err := strconv.ParseInt(strings.TrimSpace(rest[:strings.IndexByte(rest, '\r')]), 10, 64)
				if err != nil {
					return err
				}
				if err := c.ConfigSet(ctx, "maxmemory", strconv.FormatInt(maxmemory(used), 10)).Err(); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return act{"memory full", set(func(used int64) int64 { return used + 4096 }), set(func(int64) int64 { return 0 })}
}
