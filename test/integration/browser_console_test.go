package integration

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// TestBrowserConsole creates a drop by hand, finds it in the shop, and watches
// its sale.
func TestBrowserConsole(t *testing.T) {
	d := newDeployment(t)
	server := d.serve(t)
	s := newShop(t, server)
	b := newBrowser(t)
	console, shop := b.visit(server, consoleOf(0)), b.visit(server, "/")
	console.state(later, "live")

	// Errors stand beside their fields.
	field := func(name string) string { return fmt.Sprintf(`%s [name="%s"]`, tid("", "create-form"), name) }
	console.fill(field("name"), "Court Classic")
	console.fill(field("price"), "129.955")
	console.press(tid("", "add-size"))
	console.fill(tid("", "size-row")+` [name="size"]`, "42")
	console.fill(tid("", "size-row")+` [name="stock"]`, "300")
	console.press(tid("", "create-submit"))
	console.says(later, `[data-testid="field-error"][data-field="price"]`, "decimals")
	console.fill(field("price"), "129.95")
	console.fill(field("hold_seconds"), "60")
	console.press(tid("", "create-submit"))
	console.says(later, tid("", "create-message"), "Court Classic")

	var drops []drop
	if a := s.call("GET", "/api/drops", nil, &drops); a.err != nil || len(drops) != 1 || len(drops[0].Sizes) != 1 || drops[0].Available != 300 {
		t.Fatalf("drops: %v", a)
	}
	id := drops[0].ID
	shop.shows(later, tid(card(id), "available"), "300")
	console.shows(later, tid("", "figure-available"), "300")

	// A storm: the chart grows, the figures move.
	points := func() int {
		n, _ := strconv.Atoi(eval[string](console, `document.querySelector('[data-testid="stock-chart"]').dataset.points || "0"`))
		return n
	}
	before := points()
	people := d.people(t, 20)
	ending := make(chan struct{})
	var storm sync.WaitGroup
	stop := sync.OnceFunc(func() { close(ending); storm.Wait() })
	t.Cleanup(stop)
	storm.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ending:
				return
			case <-tick.C:
			}
			r, a := s.reserve(object{"dropId": id, "userId": people[i%20], "size": "42"})
			if a.status == 201 && i%3 == 0 {
				s.purchase(r.ID)
			}
			if a.err != nil {
				t.Error(a)
				return
			}
		}
	})
	harness.Eventually(t, later, func() error {
		if after := points(); after <= before+3 {
			return fmt.Errorf("the chart has %d points, had %d", after, before)
		}
		return nil
	})
	console.reads(later, tid("", "figure-reservations"), "a rate", func(text string) bool { return text != "" && text != "–" && text[0] != '0' })
	console.reads(later, tid("", "hold-row"), "a hold", func(text string) bool { return text != "" })
	console.picture("console")
	stop()
	want := s.drop(id)
	console.shows(later, tid("", "figure-sold"), strconv.Itoa(want.Sold))
	console.shows(later, tid("", "figure-held"), strconv.Itoa(want.Held))
	shop.shows(later, tid(card(id), "available"), strconv.Itoa(want.Available))
}
