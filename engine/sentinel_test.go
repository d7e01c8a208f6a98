package engine_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

func TestSentinelFailoverDuringASale(t *testing.T) {
	t.Parallel()
	s := harness.OwnSentinel(t, harness.SentinelOptions{})
	e := startEngine(t, s.RedisURL, s.Prefix)
	if problems, err := e.CheckSettings(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("%q, %v", problems, err)
	}
	runExpirer(t, e, engine.ExpirerConfig{})
	heard := listenAlong(t, e)
	drops := everywhere(t, e, 100_000)
	r := startRush(t, e, 16, drops[:4]...)
	r.sellsOn(t, 10*time.Second, 20)

	// As an operator does it: the old primary becomes a replica of the new one.
	s.Failover()
	r.sellsOn(t, 10*time.Second, 20)
	s.AwaitReplicas()

	// The primary stands still, connections and all.
	frozen := s.Primary()
	frozen.Pause()
	s.AwaitFailover(frozen, 15*time.Second)
	r.sellsOn(t, 10*time.Second, 20)
	heard.hears(t, e, 10*time.Second, drops...)

	frozen.Resume() // with what was sent to it meanwhile
	s.AwaitReplicas()
	r.sellsOn(t, 5*time.Second, 20)

	dead := s.Primary()
	dead.Kill()
	s.AwaitFailover(dead, 15*time.Second)
	r.sellsOn(t, 10*time.Second, 20)
	r.stop()
	r.settled(t, s.Redis(), true)

	dead.Start()
	s.AwaitReplicas() // until then it may refuse writes
	d := engine.Drop{ID: 99, Start: time.Now().Add(-time.Hour), Hold: engine.MinHold, Sizes: []engine.SizeStock{{Stock: 5}}}
	harness.Eventually(t, 10*time.Second, func() error { return e.Open(t.Context(), d) })
	fill(t, e, 99, 5)
	harness.Eventually(t, 10*time.Second, func() error { return stockIs(t, e, 99, 5, 0, 0) })
}

// Notifications come from whichever server is the primary.
func TestSentinelNotificationsAlone(t *testing.T) {
	t.Parallel()
	s := harness.OwnSentinel(t, harness.SentinelOptions{})
	e := startEngine(t, s.RedisURL, s.Prefix)
	runExpirer(t, e, engine.ExpirerConfig{NoSweep: true})
	drop := int64(0)
	lapse := func() {
		t.Helper()
		drop++
		open(t, e, drop, 5, hold(engine.MinHold))
		fill(t, e, drop, 5)
		harness.Eventually(t, 10*time.Second, func() error { return stockIs(t, e, drop, 5, 0, 0) })
	}
	lapse()
	primary := s.Failover()
	s.AwaitReplicas() // until then it may refuse writes
	harness.Eventually(t, 10*time.Second, func() error {
		if n := primary.Redis().PubSubNumPat(t.Context()).Val(); n != 1 {
			return fmt.Errorf("the new primary has %d subscribers", n)
		}
		return nil
	})
	lapse()
}
