package integration

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/holdfast/holdfast/engine"

	"github.com/holdfast/holdfast/test/harness"
)

// TestRush has many more buyers than units, at once. Not beside other tests: they
// all want their answers before a server or a client gives up.
func TestRush(t *testing.T) {
	const buyers, units = 2000, 100
	sizes := []string{"41", "42", "43"}
	for name, c := range map[string]struct {
		instances int
		tries     int // of each buyer
		drop      object
		body      func(i int, user int64) object // without dropId
	}{
		"guests": {instances: 1, tries: 1, body: func(i int, _ int64) object {
			return object{"userName": fmt.Sprintf("guest%d", i), "email": fmt.Sprintf("guest%d@example.com", i)}
		}},
		"sizes": {instances: 1, tries: 1, drop: object{"sizes": []object{
			{"size": sizes[0], "stock": 30}, {"size": sizes[1], "stock": 50}, {"size": sizes[2], "stock": 20},
		}}, body: func(i int, user int64) object {
			return object{"userId": user, "size": sizes[i%len(sizes)]}
		}},
		"limit of one":    {instances: 1, tries: 5, drop: object{"limit_per_customer": 1}},
		"three instances": {instances: 3, tries: 1},
		"three instances, sizes, limit of one": {instances: 3, tries: 2, drop: object{
			"limit_per_customer": 1,
			"sizes":              []object{{"size": sizes[0], "stock": 50}, {"size": sizes[1], "stock": 50}},
		}, body: func(i int, user int64) object {
			return object{"userId": user, "size": sizes[i%2]}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDeployment(t)
			var instances []*harness.Process
			for range c.instances {
				instances = append(instances, d.serve(t))
			}
			s := newShop(t, instances...)
			people := d.people(t, buyers)
			id := s.open(units, c.drop)

			var mu sync.Mutex
			held, owners, answers := map[int64]bool{}, map[int64]int{}, map[string]int{}
			atOnce(buyers*c.tries, func(i int) {
				body := object{"userId": people[i%buyers]}
				if c.body != nil {
					body = c.body(i%buyers, people[i%buyers])
				}
				body["dropId"] = id
				r, a := s.reserve(body)
				if a.status == http.StatusCreated {
					mu.Lock()
					held[r.ID] = true
					owners[r.UserID]++
					mu.Unlock()
					if _, bought := s.purchase(r.ID); bought.status != http.StatusCreated {
						t.Errorf("purchase: %v", bought)
					}
				}
				mu.Lock()
				answers[fmt.Sprintf("%d %s", a.status, a.code)]++
				mu.Unlock()
				if a.err != nil {
					t.Errorf("reserve: %v", a)
				}
			})
			t.Log(answers)
			refused := answers["400 out_of_stock"]
			if c.drop["limit_per_customer"] == 1 {
				refused += answers["409 limit_reached"]
				for user, n := range owners {
					if n > 1 {
						t.Errorf("user %d got %d units, limit 1", user, n)
					}
				}
			}
			if answers["201 "] != units || refused != buyers*c.tries-units || len(held) != units {
				t.Errorf("%d different holds, answers %v", len(held), answers)
			}
			for id := range held {
				if engine.DropOf(id) < 1 {
					t.Errorf("reservation id %d names no drop", id)
				}
			}
			d.balanced(t)
			if err := s.stockIs(id, 0, 0, units); err != nil {
				t.Error(err)
			}
			d.want(t, units, "SELECT count(*) FROM purchases")
			d.want(t, units, "SELECT count(*) FROM reservations WHERE status = 'completed'")
			d.want(t, units, "SELECT sum(sold) FROM drop_sizes")
			for id := range d.ids(t, "SELECT id FROM purchases") {
				if !held[id] {
					t.Errorf("purchase %d was never answered", id)
				}
			}
		})
	}
}
