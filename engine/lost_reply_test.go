package engine_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// loser dials for a client and loses replies: while armed, the first reply to
// a script does not come, though the server has run it.
type loser struct {
	armed atomic.Bool
	lost  atomic.Int64
}

func (l *loser) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &losingConn{Conn: conn, loser: l}, nil
}

type losingConn struct {
	net.Conn

	loser *loser
	lose  atomic.Bool
}

func (c *losingConn) Write(b []byte) (int, error) {
	if bytes.Contains(bytes.ToLower(b), []byte("evalsha")) && c.loser.armed.CompareAndSwap(true, false) {
		c.lose.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *losingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.lose.Load() {
		c.loser.lost.Add(1)
		return 0, errors.Join(io.ErrUnexpectedEOF, c.Close())
	}
	return n, err
}

// A client that sends again by itself takes two units where one reply is
// lost. ClusterClient does, whatever MaxRetries says, unless told not to for
// each command.
func TestLostReplyTakesOneUnit(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T, *loser) (redis.UniversalClient, string){
		"cluster": func(t *testing.T, l *loser) (redis.UniversalClient, string) {
			t.Helper()
			c := harness.OwnCluster(t, harness.ClusterOptions{})
			return redis.NewClusterClient(&redis.ClusterOptions{
				Addrs: strings.Split(strings.TrimPrefix(c.RedisURL, "redis-cluster://"), ","), Protocol: 2, Dialer: l.dial,
			}), c.Prefix
		},
		"sentinel": func(t *testing.T, l *loser) (redis.UniversalClient, string) {
			t.Helper()
			s := harness.OwnSentinel(t, harness.SentinelOptions{})
			return redis.NewFailoverClient(&redis.FailoverOptions{
				SentinelAddrs: []string{s.Sentinels[0].Addr()}, MasterName: harness.SentinelMaster, Protocol: 2, MaxRetries: -1, Dialer: l.dial,
			}), s.Prefix
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &loser{}
			client, prefix := start(t, l)
			t.Cleanup(func() { _ = client.Close() })
			e, err := engine.New(engine.Config{Redis: client, Prefix: prefix, Standalone: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(e.Stop)
			open(t, e, 1, 10, hold(time.Minute))
			reserve(t, e, engine.ReserveRequest{Drop: 1, User: 1}) // the script is known
			l.armed.Store(true)
			_, err = e.Reserve(t.Context(), engine.ReserveRequest{Drop: 1, User: 2, Key: "k"})
			wantErr(t, err, engine.ErrUnavailable)
			if l.lost.Load() != 1 {
				t.Fatalf("%d replies lost", l.lost.Load())
			}
			wantStock(t, e, 1, 8, 2, 0)
			if again := reserve(t, e, engine.ReserveRequest{Drop: 1, User: 2, Key: "k"}); !again.Replayed {
				t.Errorf("%+v", again)
			}
			wantStock(t, e, 1, 8, 2, 0)
		})
	}
}
