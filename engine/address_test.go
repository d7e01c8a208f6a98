package engine_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
)

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"redis://h", "rediss://u:secret@h:1/2", "unix:///a/b.sock?db=1",
		"redis-sentinel://h?master=m", "redis-sentinel://u:secret@a:1,b,[::1]:3/2?master=m&sentinel_password=secret&sentinel_user=s",
		"rediss-sentinel://a,b,c/0?master=m", "redis-cluster://a", "rediss-cluster://:secret@a:1,b:2,[::1]",
		"redis-cluster://a,b/0", "redis-sentinel://:se%2Fcret%40@a/?master=m",
	} {
		if err := engine.CheckURL(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for url, want := range map[string]string{
		"":                                       "begins with none",
		"secret@h:1":                             "begins with none",
		"http://:secret@h":                       `"http"`,
		"redis://:secret@h:port":                 "cannot be read",
		"redis://:se/cret@h":                     "cannot be read",
		"redis-sentinel://:secret@a,b":           "master",
		"redis-sentinel://:secret@a,,c?master=m": "address 2",
		"redis-sentinel://a:0?master=m":          "port",
		"redis-sentinel://a/x?master=m":          `"x"`,
		"redis-sentinel://a?master=m&sentinel_pass=secret": `"sentinel_pass"`,
		"redis-sentinel://:se%zzcret@a?master=m":           "cannot be read",
		"redis-sentinel://a?master=m;secret":               "cannot be read",
		"redis-cluster://:secret@":                         "address 1",
		"redis-cluster://a:1/1":                            "no databases",
		"redis-cluster://a:1?master=secret":                `"master"`,
		"redis-cluster://::1,b":                            "host:port",
		"redis-cluster://a:1#secret":                       "cannot be read",
	} {
		err := engine.CheckURL(url)
		if !errors.Is(err, engine.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "se/cret")) {
			t.Errorf("the password is in %q", err)
		}
		if _, clientErr := engine.NewClient(engine.ClientConfig{URL: url}); clientErr == nil {
			t.Errorf("%s: a client was made", url)
		}
	}
}

func TestClientOptions(t *testing.T) {
	t.Parallel()
	client := func(url string) redis.UniversalClient {
		c, err := engine.NewClient(engine.ClientConfig{URL: url, PoolSize: 7})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	single, ok := client("rediss-sentinel://u:p@a,b/2?master=m").(*redis.Client)
	if !ok {
		t.Fatal("Sentinels give no plain client")
	}
	if o := single.Options(); o.DB != 2 || o.Username != "u" || o.Password != "p" || o.TLSConfig == nil || o.PoolSize != 7 || o.MaxRetries != 0 || !o.ContextTimeoutEnabled {
		t.Errorf("%+v", o)
	}
	cluster, ok := client("redis-cluster://u:p@a:1,b").(*redis.ClusterClient)
	if !ok {
		t.Fatal("a cluster gives no cluster client")
	}
	if o := cluster.Options(); strings.Join(o.Addrs, " ") != "a:1 b:6379" || o.Username != "u" || o.Password != "p" || o.TLSConfig != nil || o.PoolSize != 7 || o.MaxRetries > 0 || !o.ContextTimeoutEnabled {
		t.Errorf("%+v", o)
	}
}
