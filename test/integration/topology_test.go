package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// One instance sells, on a cluster and behind Sentinels, before and after its
// Redis is replaced under it, and Postgres gets it all.
func TestTopologies(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T, *deployment) (replace func(key string)){
		"cluster": func(t *testing.T, d *deployment) func(string) {
			t.Helper()
			c := harness.OwnCluster(t, harness.ClusterOptions{})
			d.redisURL, d.redis = c.RedisURL, c.Redis()
			return func(key string) { c.Takeover(c.Slot(key)) }
		},
		"sentinel": func(t *testing.T, d *deployment) func(string) {
			t.Helper()
			s := harness.OwnSentinel(t, harness.SentinelOptions{})
			d.redisURL, d.redis = s.RedisURL, s.Redis()
			return func(string) { s.Failover() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDeployment(t)
			replace := start(t, d)
			s := newShop(t, d.serve(t))
			people := d.people(t, 20)
			drops := make([]int64, 2*partitions)
			for i := range drops {
				drops[i] = s.open(10, object{"hold_seconds": 30})
				s.mustBuy(s.mustReserve(object{"dropId": drops[i], "userId": people[0]}).ID)
			}
			d.drained(t, 20*time.Second)
			replace(d.dropKey(drops[0]))
			for i, drop := range drops {
				harness.Eventually(t, 20*time.Second, func() error {
					r, a := s.reserve(object{"dropId": drop, "userId": people[1+i]}, "Idempotency-Key", fmt.Sprint("key", i))
					if a.status != 201 && a.status != 200 {
						return fmt.Errorf("drop %d: %v", drop, a)
					}
					if _, a = s.purchase(r.ID); a.status != 201 && a.status != 200 {
						return fmt.Errorf("reservation %d: %v", r.ID, a)
					}
					return nil
				})
			}
			d.drained(t, 20*time.Second)
			d.want(t, 2*len(drops), "SELECT count(*) FROM purchases")
			d.balanced(t)
		})
	}
}
