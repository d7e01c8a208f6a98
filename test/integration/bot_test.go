package integration

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestBot has one person with 200 connections and 50 addresses against 1,000
// honest buyers, for 100 units with a limit of one: the bot gets one at most, and
// the honest hardly notice it. It measures time, so not beside other tests.
func TestBot(t *testing.T) {
	const honest, units, rounds = 1000, 100, 2
	d := newDeployment(t)
	// As behind a proxy: it says who calls.
	instance := d.serve(t, "--fair-use", "on", "--trusted-proxies", "127.0.0.1")
	s, botnet := newShop(t, instance), newShop(t, instance)
	people := d.people(t, honest+1)
	bot := people[honest]

	sale := func(attacked bool) (times []time.Duration) {
		drop := s.open(units, object{"limit_per_customer": 1})
		var stop func()
		if attacked {
			stop = botnet.unleash(drop, bot)
		}
		times = s.sellTo(drop, people[:honest])
		if attacked {
			stop()
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
		return times
	}
	quiet, attacked := make([]time.Duration, 0, rounds*honest), make([]time.Duration, 0, rounds*honest)
	for range rounds {
		quiet = append(quiet, sale(false)...)
		attacked = append(attacked, sale(true)...)
	}
	was, is := percentile(quiet, 99), percentile(attacked, 99)
	t.Logf("p99 of the honest: %v in quiet, %v beside the bot", was, is)
	const noise = 250 * time.Millisecond // of a machine with other things to do
	if is > max(2*was, noise) {
		t.Errorf("p99 beside the bot %v, in quiet %v", is, was)
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

// unleash has one person reserve and buy over 200 connections from 50 addresses,
// without a pause to speak of, until stop is called.
func (s *shop) unleash(drop, bot int64) (stop func()) {
	const connections, addresses, pause = 200, 50, 20 * time.Millisecond
	ending := make(chan struct{})
	var running sync.WaitGroup
	var calls, limited atomic.Int64
	for i := range connections {
		from := fmt.Sprintf("203.0.113.%d", i%addresses+1)
		running.Go(func() {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for {
				select {
				case <-ending:
					return
				case <-tick.C:
				}
				r, a := s.reserve(object{"dropId": drop, "userId": bot}, "X-Forwarded-For", from)
				calls.Add(1)
				if a.code == "rate_limited" {
					limited.Add(1)
				}
				if a.status == http.StatusCreated {
					s.call("POST", "/api/drops/purchase", object{"reservationId": r.ID}, nil, "X-Forwarded-For", from)
				}
			}
		})
	}
	return func() {
		close(ending)
		running.Wait()
		s.t.Logf("the bot called %d times and was over a limit %d times", calls.Load(), limited.Load())
		if limited.Load() == 0 {
			s.t.Error("the bot was never over a limit")
		}
	}
}
