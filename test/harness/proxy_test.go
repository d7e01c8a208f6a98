package harness

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// proxied is a client of one connection through a proxy before the test's Redis.
func proxied(t *testing.T) (*Proxy, *redis.Client, *Env) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	env := New(t)
	p := NewProxy(t, env.RedisURL)
	o, err := redis.ParseURL(p.URL())
	if err != nil {
		t.Fatal(err)
	}
	o.MaxRetries, o.PoolSize = -1, 1
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	return p, client, env
}

func value(t *testing.T, env *Env, key string) string {
	t.Helper()
	got, err := env.Redis().Get(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestProxyCut(t *testing.T) {
	p, client, _ := proxied(t)
	p.Cut()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := client.Ping(ctx).Err()
		cancel()
		if err == nil {
			t.Fatal("a cut connection answers")
		}
	}
	p.Restore()
	Eventually(t, 5*time.Second, func() error { return client.Ping(t.Context()).Err() })
}

func TestProxyDropsEveryReply(t *testing.T) {
	p, client, env := proxied(t)
	key := env.Prefix + "n"
	p.DropReplies()
	if err := client.Incr(t.Context(), key).Err(); err == nil {
		t.Fatal("the reply came")
	}
	if got := value(t, env, key); got != "1" {
		t.Errorf("the server counted %s, want 1", got)
	}
	if err := client.Incr(t.Context(), key).Err(); err == nil {
		t.Error("a second reply came")
	}
	p.Pass()
	Eventually(t, 5*time.Second, func() error { return client.Incr(t.Context(), key).Err() })
}

func TestProxyDropsOneReply(t *testing.T) {
	p, client, env := proxied(t)
	key, other := env.Prefix+"n", env.Prefix+"other"
	if err := client.Set(t.Context(), key, 0, 0).Err(); err != nil { // a match too early
		t.Fatal(err)
	}
	p.DropNextReply(key)
	if err := client.Incr(t.Context(), other).Err(); err != nil {
		t.Fatalf("the reply to another request was lost: %v", err)
	}
	if err := client.Incr(t.Context(), key).Err(); err == nil {
		t.Fatal("the reply came")
	}
	if got := value(t, env, key); got != "1" {
		t.Errorf("the server counted %s, want 1", got)
	}
	if got, err := client.Incr(t.Context(), key).Result(); err != nil || got != 2 {
		t.Errorf("after it: %d, %v; want 2", got, err)
	}
}

func TestProxyPassesMuch(t *testing.T) {
	_, client, env := proxied(t)
	big := make([]byte, 1<<20)
	for i := range big {
		big[i] = byte(i * 7)
	}
	if err := client.Set(t.Context(), env.Prefix, big, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := client.Get(t.Context(), env.Prefix).Bytes(); err != nil || string(got) != string(big) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
}

func TestProxyBeforePostgres(t *testing.T) {
	env := New(t)
	p := NewProxy(t, env.DatabaseURL)
	insert := func(name string) error {
		return execSQL(t.Context(), p.URL(), fmt.Sprintf("INSERT INTO things VALUES ('%s')", name))
	}
	if err := insert("a"); err != nil {
		t.Fatal(err)
	}
	p.DropNextReply("INSERT")
	if err := insert("b"); err == nil {
		t.Error("the reply came")
	}
	Eventually(t, 5*time.Second, func() error {
		if got := names(t, env.DatabaseURL); got != "a,b" {
			return fmt.Errorf("the table holds %q", got)
		}
		return nil
	})
}

func TestProxyWithoutServer(t *testing.T) {
	p := NewProxy(t, "redis://127.0.0.1:1")
	client := redis.NewClient(&redis.Options{Addr: p.Addr(), MaxRetries: -1})
	defer func() { _ = client.Close() }()
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("an absent server answers")
	}
}
