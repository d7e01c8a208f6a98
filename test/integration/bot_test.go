package integration

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// TestBot has one person with 200 connections and 50 addresses against 1,000
// honest buyers, for 100 units with a limit of one: the bot gets one at most, and
// the honest hardly notice it. It measures time, so not beside other tests.
func TestBot(t *testing.T) {
	const honest, units, rounds = 1000, 100, 5
	d := newDeployment(t)
	// As behind proxies, who say who calls.
	instance := d.serve(t, "--fair-use", "on", "--trusted-proxies", "127.0.0.0/8")
	s := newShop(t, instance)
	people := d.people(t, honest+1)
	bot := people[honest]

	sale := func(attacked bool) time.Duration {
		drop := s.open(units, object{"limit_per_customer": 1})
		var botnet *harness.Process
		if attacked {
			botnet = harness.NewProcess(t, "nice", []string{fmt.Sprintf("%s=bot=%s/%d/%d", attackEnv, strings.TrimPrefix(instance.URL, "http://"), drop, bot)},
				"-n", "10", os.Args[0])
			botnet.Start()
			harness.Eventually(t, time.Minute, func() error {
				if !strings.Contains(botnet.Log(), beenLimited) {
					return fmt.Errorf("the bot has met no limit: %s", botnet.Log())
				}
				return nil
			})
		}
		times := s.sellTo(drop, people[:honest])
		if attacked {
			botnet.Kill()
		}
		d.balanced(t)
		// Who is too late gets nothing, and whoever is in time one.
		if err := s.stockIs(drop, 0, 0, units); err != nil {
			t.Error(err)
		}
		if n := d.count(t, "SELECT count(*) FROM purchases WHERE drop_id = $1 AND user_id = $2", drop, bot); n > 1 {
			t.Errorf("the bot got %d units", n)
		}
		d.want(t, 0, "SELECT count(*) FROM (SELECT FROM purchases WHERE drop_id = $1 GROUP BY user_id HAVING count(*) > 1) AS _", drop)
		return percentile(times, 99)
	}
	for round := 1; ; round++ {
		const noise = 50 * time.Millisecond // of a machine with other things to do
		quiet, attacked := sale(false), sale(true)
		t.Logf("p99 of the honest: %v in quiet, %v beside the bot", quiet, attacked)
		switch {
		case attacked <= max(2*quiet, noise):
			return
		case round == rounds:
			t.Fatalf("p99 of the honest beside the bot is more than twice that in quiet, %d times", rounds)
		}
	}
}

func percentile(all []time.Duration, p int) time.Duration {
	slices.Sort(all)
	return all[(len(all)-1)*p/100]
}

// sellTo has each of the people come once, from an address of their own, all
// within some seconds, and gives how long each reserve took.
func (s *shop) sellTo(drop int64, people []int64) []time.Duration {
	const within = 4 * time.Second
	times := make([]time.Duration, len(people))
	tick := time.NewTicker(within / time.Duration(len(people)))
	defer tick.Stop()
	var buying sync.WaitGroup
	for i, user := range people {
		<-tick.C
		from := fmt.Sprintf("10.1.%d.%d", i/250, i%250+1)
		buying.Go(func() {
			began := time.Now()
			r, a := s.reserve(object{"dropId": drop, "userId": user}, "X-Forwarded-For", from)
			times[i] = time.Since(began)
			switch {
			case a.status == http.StatusCreated:
				if a := s.call("POST", "/api/drops/purchase", object{"reservationId": r.ID}, nil, "X-Forwarded-For", from); a.status != http.StatusCreated {
					s.t.Errorf("purchase: %v", a)
				}
			case a.code != "out_of_stock":
				s.t.Errorf("an honest buyer is answered %v", a)
			}
		})
	}
	buying.Wait()
	return times
}
