package engine

import (
	"context"
	"errors"
	"iter"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// quiet is after how long without a message a subscription is pinged, and
	// silent after how long without an answer it is given up: a server that is
	// frozen or cut off closes no connection.
	quiet  = time.Second
	silent = 3 * time.Second
	// resubscribe is the rest before another try.
	resubscribe = 100 * time.Millisecond
)

// receive yields what a subscription brings until ctx ends, and subscribes
// again, wherever the client then leads, when it is lost. That shows as further
// *redis.Subscription.
func receive(ctx context.Context, subscribe func() *redis.PubSub) iter.Seq[any] {
	return func(yield func(any) bool) {
		for ctx.Err() == nil {
			sub := subscribe()
			on := hear(ctx, sub, yield)
			_ = sub.Close() // it is lost, or nobody listens any more
			if !on {
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(resubscribe):
			}
		}
	}
}

// hear yields what comes until the subscription is lost, or false if nobody
// wants more.
func hear(ctx context.Context, sub *redis.PubSub, yield func(any) bool) bool {
	// A read that waits does not see ctx end.
	stop := context.AfterFunc(ctx, func() { _ = sub.Close() })
	defer stop()
	last := time.Now()
	for ctx.Err() == nil {
		msg, err := sub.ReceiveTimeout(ctx, quiet)
		var netErr net.Error
		switch {
		case err == nil:
			last = time.Now()
			if _, pong := msg.(*redis.Pong); !pong && !yield(msg) {
				return false
			}
		case !errors.As(err, &netErr) || !netErr.Timeout() || time.Since(last) > silent || sub.Ping(ctx) != nil:
			return true
		}
	}
	return false
}

// listen wakes a partition's release for each expired hold key.
func (x *Expirer) listen(ctx context.Context) {
	if cluster, ok := x.e.redis.(*redis.ClusterClient); ok {
		x.listenToMasters(ctx, cluster)
		return
	}
	x.listenTo(ctx, x.e.redis)
}

// listenTo hears one server, or whichever a client leads to. All partitions
// are woken on every (re)connect, since notifications of the gap are lost.
func (x *Expirer) listenTo(ctx context.Context, client interface {
	PSubscribe(ctx context.Context, channels ...string) *redis.PubSub
}) {
	subscribe := func() *redis.PubSub { return client.PSubscribe(ctx, expiredPattern) }
	for msg := range receive(ctx, subscribe) {
		switch msg := msg.(type) {
		case *redis.Subscription:
			for p := range x.wake {
				x.kick(p)
			}
		case *redis.Message:
			if p, ok := x.e.keys.partitionOf(msg.Payload); ok {
				x.kick(p)
			}
		}
	}
}

// listenToMasters hears each master of a cluster, since no server passes such
// notifications on, and looks every second for masters that come and go.
func (x *Expirer) listenToMasters(ctx context.Context, cluster *redis.ClusterClient) {
	type ear struct {
		client *redis.Client
		stop   context.CancelFunc
	}
	ears := map[string]ear{} // by address
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() {
		for _, e := range ears {
			e.stop()
		}
	}()
	tick := time.NewTicker(clusterLook)
	defer tick.Stop()
	for {
		masters, err := mastersOf(ctx, cluster, x.e.cfg.CallTimeout)
		if err != nil && len(ears) == 0 && ctx.Err() == nil {
			x.e.log.Error("the cluster's masters are not known; trying on", "err", err)
		}
		for addr, e := range ears {
			if err == nil && masters[addr] != e.client { // gone, or come back as another
				e.stop()
				delete(ears, addr)
			}
		}
		for addr, client := range masters {
			if _, ok := ears[addr]; !ok {
				on, stop := context.WithCancel(ctx)
				ears[addr] = ear{client, stop}
				wg.Go(func() { x.listenTo(on, client) })
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// expiredPattern is the channels on which Redis tells of expired keys.
const expiredPattern = "__keyevent@*__:expired"

// mastersOf are clients of the masters that serve slots, by address.
func mastersOf(ctx context.Context, cluster *redis.ClusterClient, timeout time.Duration) (map[string]*redis.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var mu sync.Mutex
	masters := map[string]*redis.Client{}
	err := cluster.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters[c.Options().Addr] = c
		return nil
	})
	return masters, err
}
