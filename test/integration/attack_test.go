package integration

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// TestAttacks has a drop sell to honest buyers while one kind of attack after the
// other goes on: at least half as many get their unit as in the quiet of the
// moments after, when the attackers are stopped; the memory is bounded, and the books are right at the
// end. It measures rates, so not beside other tests.
func TestAttacks(t *testing.T) {
	const (
		window    = 1500 * time.Millisecond
		tries     = 8
		enough    = 25         // reservations a second, summed over the windows: half of what the crowd asks for
		maxGrowth = 1536 << 20 // bytes: with the race detector a connection takes about 55 KB, and 10,000 are open
	)
	d := newDeployment(t)
	server := d.serve(t, "--fair-use", "on")
	s := newShop(t, server)
	drop := s.open(1_000_000, nil)
	crowd := newCrowd(t, server, drop, d.people(t, 2000))
	before := memory(t, server)
	crowd.rate(window) // its connections are made, and what is remembered is filled

	for _, name := range slices.Sorted(maps.Keys(attacks)) {
		attackers := harness.NewProcess(t, "nice", []string{attackEnv + "=" + name + "=" + strings.TrimPrefix(server.URL, "http://")},
			"-n", "10", os.Args[0])
		attackers.Start()
		harness.Eventually(t, time.Minute, func() error {
			if !strings.Contains(attackers.Log(), atWork) {
				return fmt.Errorf("%s: the attack does not begin: %s", name, attackers.Log())
			}
			return nil
		})
		// Windows in turn, until there is enough to judge by: other things may take
		// the machine meanwhile, from the one or from the other.
		var attacked, quiet float64
		for try := 1; ; try++ {
			attacked += crowd.rate(window)
			attackers.Signal(syscall.SIGSTOP)
			quiet += crowd.rate(window)
			rss := memory(t, server)
			t.Logf("%-13s %.0f reservations a second, in quiet %.0f (%d windows); memory %d MB, before all %d",
				name, attacked/float64(try), quiet/float64(try), try, rss>>20, before>>20)
			if rss > before+maxGrowth {
				t.Errorf("%s: memory grew from %d to %d MB", name, before>>20, rss>>20)
			}
			if attacked >= quiet/2 && quiet >= enough {
				break
			}
			if try == tries {
				t.Errorf("%s: %.0f reservations a second, in quiet %.0f, of %d windows", name, attacked/tries, quiet/tries, tries)
				break
			}
			attackers.Signal(syscall.SIGCONT)
		}
		if attackers.Ended() {
			t.Errorf("%s: the attackers ended before the time: %s", name, attackers.Log())
		}
		attackers.Kill()
	}
	crowd.leave()
	if server.Ended() {
		t.Fatal("the server is gone")
	}
	d.balanced(t)
	d.want(t, int(crowd.bought.Load()), "SELECT count(*) FROM purchases")
	t.Logf("%d idle sockets at most", idleSockets())
}

// memory is what a process has in RAM, in bytes.
func memory(t *testing.T, p *harness.Process) (bytes int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kb int64
			if _, err := fmt.Sscan(rest, &kb); err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatalf("no VmRSS in %s", status)
	return 0
}

// crowd are honest buyers, each with an address, at the pace of people.
type crowd struct {
	drop   int64
	people []int64

	next, bought atomic.Int64
	ending       chan struct{}
	running      sync.WaitGroup
}

func newCrowd(t *testing.T, server *harness.Process, drop int64, people []int64) *crowd {
	t.Helper()
	const buyers, pace = 20, 400 * time.Millisecond
	c := &crowd{drop: drop, people: people, ending: make(chan struct{})}
	for i := range buyers {
		from := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))}
		transport := &http.Transport{DialContext: (&net.Dialer{LocalAddr: from, Timeout: 5 * time.Second}).DialContext}
		s := &shop{t: t, urls: []string{server.URL}, http: &http.Client{Transport: transport, Timeout: 10 * time.Second}}
		c.running.Go(func() {
			defer transport.CloseIdleConnections()
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for {
				select {
				case <-c.ending:
					return
				case <-tick.C:
					c.buy(s)
				}
			}
		})
	}
	t.Cleanup(c.leave)
	return c
}

func (c *crowd) buy(s *shop) {
	user := c.people[c.next.Add(1)%int64(len(c.people))]
	r, a := s.reserve(object{"dropId": c.drop, "userId": user})
	if a.status != http.StatusCreated {
		s.t.Logf("an honest buyer is answered %v", a)
		return
	}
	for try := range 3 { // a repeat gets the same receipt
		_, a = s.purchase(r.ID)
		if a.status == http.StatusCreated || try > 0 && a.status == http.StatusOK {
			c.bought.Add(1)
			return
		}
	}
	s.t.Errorf("purchase: %v", a)
}

// rate is how many units are bought a second in the time that comes.
func (c *crowd) rate(during time.Duration) float64 {
	from, began := c.bought.Load(), time.Now()
	<-time.After(during)
	return float64(c.bought.Load()-from) / time.Since(began).Seconds()
}

func (c *crowd) leave() {
	select {
	case <-c.ending:
	default:
		close(c.ending)
	}
	c.running.Wait()
}
