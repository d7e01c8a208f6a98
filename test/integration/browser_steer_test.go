package integration

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// TestBrowserConsoleSteers presses every button that changes a drop, and looks at
// what comes of it at a buyer's page and at the API.
func TestBrowserConsoleSteers(t *testing.T) {
	d := newDeployment(t)
	server := d.serve(t)
	s := newShop(t, server)
	person := d.people(t, 1)[0]
	id := s.open(10, object{
		"start_time": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "limit_per_customer": 1,
		"sizes": []object{{"size": "42", "stock": 6}, {"size": "43", "stock": 4}},
	})
	path := fmt.Sprintf("/api/drops/%d", id)
	b := newBrowser(t)
	console, shop := b.visit(server, consoleOf(id)), b.visit(server, "/")
	console.state(later, "live")
	said := func(words string) {
		t.Helper()
		console.says(later, tid("", "steer-note"), words)
	}
	confirmed := func() {
		t.Helper()
		console.press(tid("", "confirm-yes"))
	}
	is := func(field, want string) {
		t.Helper()
		harness.Eventually(t, later, func() error {
			var now map[string]any
			if a := s.call("GET", path, nil, &now); fmt.Sprint(now[field]) != want {
				return fmt.Errorf("%s is %v, want %s: %v", field, now[field], want, a)
			}
			return nil
		})
	}
	terms, stock := tid("", "steer-terms"), tid("", "steer-stock")

	console.fill(terms+` [name="price"]`, "99.95")
	console.press(terms + ` [value="price"]`)
	said("Changed")
	is("price", "99.95")
	console.fill(terms+` [name="limit"]`, "")
	console.press(terms + ` [value="limit_per_customer"]`)
	is("limit_per_customer", "<nil>")
	eval[bool](console, `(document.querySelector('#steer-start').value = "2020-01-01T00:00:00") !== ""`)
	console.press(terms + ` [value="start_time"]`)
	is("start_time", time.Date(2020, 1, 1, 0, 0, 0, 0, time.Local).UTC().Format("2006-01-02T15:04:05.000Z")) //nolint:gosmopolitan // the browser's zone is this machine's
	shop.shows(later, tid(card(id), "available"), "10")

	console.fill(stock+` [name="units"]`, "5")
	console.press(stock + ` [value="add"]`)
	said("Added 5 units of 42")
	console.shows(later, tid("", "figure-total"), "15")
	shop.shows(later, tid(card(id), "available"), "15")
	console.fill(stock+` [name="units"]`, "100")
	console.press(stock + ` [value="take"]`)
	confirmed()
	said("Not as many units are available")
	console.fill(stock+` [name="units"]`, "2")
	console.press(stock + ` [value="take"]`)
	console.press(`#confirm [value="no"]`)
	is("total_stock", "15")
	console.press(stock + ` [value="take"]`)
	confirmed()
	said("Took away 2 units of 42")
	is("total_stock", "13")

	console.press(tid("", "steer-pause"))
	said("Paused")
	is("state", "paused")
	console.press(tid("", "steer-resume"))
	said("Resumed")
	is("state", "open")

	held := s.mustReserve(object{"dropId": id, "userId": person, "size": "42"})
	console.press(tid("", "release"))
	confirmed()
	harness.Eventually(t, later, func() error {
		if r, a := s.reservation(held.ID); r.Status != "cancelled" {
			return fmt.Errorf("reservation: %v", a)
		}
		return nil
	})
	s.mustBuy(s.mustReserve(object{"dropId": id, "userId": person, "size": "43"}).ID)
	d.drained(t, 30*time.Second)
	console.press(tid("", "audit-run"))
	console.says(later, tid("", "audit-note"), "no difference")
	console.press(tid("", "sales"))
	console.says(later, "#sales-note", "are saved")

	console.press(tid("", "steer-end"))
	confirmed()
	said("Ended")
	is("state", "ended")
	harness.Eventually(t, later, func() error {
		if !eval[bool](console, `document.querySelector('#steer-end').disabled`) {
			return fmt.Errorf("a drop that has ended can be ended")
		}
		return nil
	})
	console.press(tid("", "log-run"))
	console.says(later, tid("", "log-row"), "ended")
	if n := eval[int](console, `document.querySelectorAll('[data-testid="log-row"]').length`); n != 10 {
		t.Errorf("%d acts are shown, want 10", n)
	}
	console.picture("console-steer")
	if wide := eval[bool](console, `document.documentElement.scrollWidth > document.documentElement.clientWidth`); wide {
		t.Error("the console is wider than the window")
	}
	d.want(t, 1, "SELECT count(*) FROM purchases")
	console.shows(later, tid("", "figure-sold"), strconv.Itoa(1))
}
