package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// TestRollingRestart restarts three instances in turn by SIGTERM while buyers
// call them, each call over a connection of its own, as a proxy makes them. An instance
// that leaves may refuse connections; whatever it has taken it answers.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	const stock, workers, instances = 100_000, 8, 3
	d := newDeployment(t)
	people := d.people(t, 50)
	all := make([]*harness.Process, instances)
	for i := range all {
		all[i] = d.serve(t)
	}
	s := newShop(t, all...)
	s.known(people)
	id := s.open(stock, nil)

	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	defer client.CloseIdleConnections()
	var refused, next atomic.Int64
	// post calls one instance after the other until one takes the connection.
	post := func(path string, body object, into any) (status int, err error) {
		raw, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		for {
			at := all[next.Add(1)%instances]
			res, err := client.Post(at.URL+path, "application/json", bytes.NewReader(raw))
			if errors.Is(err, syscall.ECONNREFUSED) {
				refused.Add(1)
				continue
			}
			if err != nil {
				return 0, err
			}
			err = json.NewDecoder(res.Body).Decode(into)
			_ = res.Body.Close()
			return res.StatusCode, err
		}
	}
	var mu sync.Mutex
	bought := map[int64]bool{}
	ending := make(chan struct{})
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-ending:
					return
				default:
				}
				var r reservation
				status, err := post("/api/drops/reserve", object{"dropId": id, "userId": people[(w+i)%len(people)]}, &r)
				if status != http.StatusCreated || err != nil {
					t.Errorf("reserve: %d, %v", status, err)
					return
				}
				var receipt receipt
				status, err = post("/api/drops/purchase", object{"reservationId": r.ID}, &receipt)
				if status != http.StatusCreated || err != nil {
					t.Errorf("purchase: %d, %v", status, err)
					return
				}
				mu.Lock()
				bought[r.ID] = true
				mu.Unlock()
			}
		})
	}
	sells := func(n int) {
		t.Helper()
		mu.Lock()
		want := len(bought) + n
		mu.Unlock()
		harness.Eventually(t, 20*time.Second, func() error {
			mu.Lock()
			defer mu.Unlock()
			if len(bought) < want {
				return fmt.Errorf("%d sold, want %d", len(bought), want)
			}
			return nil
		})
	}
	for _, p := range all {
		sells(50)
		if status := p.Terminate(); status != 0 {
			t.Errorf("%s ended with %d", p.URL, status)
		}
		sells(20) // by the two others
		p.Again()
		p.Ready()
	}
	sells(50)
	close(ending)
	running.Wait()
	t.Logf("%d sold, %d connections refused", len(bought), refused.Load())
	d.balanced(t)
	sameIDs(t, "purchases", d.ids(t, "SELECT id FROM purchases WHERE drop_id = $1", id), bought)
	d.want(t, 0, "SELECT count(*) FROM lost_work")
	if err := s.stockIs(id, stock-len(bought), 0, len(bought)); err != nil {
		t.Error(err)
	}
}
