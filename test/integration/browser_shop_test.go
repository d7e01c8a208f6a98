package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/holdfast/holdfast/test/harness"
)

const (
	soon  = time.Second      // in which a page has to show what another did
	later = 15 * time.Second // for what takes its time: a lapse, a restart, a page's first look
)

// TestBrowserTwoBuyers has two people on one drop: each sees what the other does.
func TestBrowserTwoBuyers(t *testing.T) {
	d := newDeployment(t)
	server := d.serve(t)
	s := newShop(t, server)
	quick := s.open(2, object{"name": "Court Classic", "hold_seconds": 5})
	id := s.open(2, object{"name": "Night Trail"})
	b := newBrowser(t)
	ada, bob := b.visit(server, "/"), b.visit(server, "/")
	for _, v := range []*visitor{ada, bob} {
		v.shows(later, tid(card(id), "available"), "2")
		v.shows(later, tid(card(quick), "available"), "2")
		v.state(later, "live")
	}

	// Who has no name yet is asked for it, once.
	ada.press(tid(card(quick), "reserve"))
	ada.fill(tid("", "name-input"), "Ada Lovelace")
	ada.fill(tid("", "email-input"), "ada@example.com")
	ada.press(tid("", "name-save"))
	ada.reads(later, tid(card(quick), "hold-remaining"), "the time left", func(text string) bool { return strings.HasPrefix(text, "0:0") })
	bob.shows(soon, tid(card(quick), "available"), "1")
	ada.shows(soon, tid(card(quick), "available"), "1")

	// The hold lapses: the unit is back, and Ada is told.
	bob.shows(later, tid(card(quick), "available"), "2")
	ada.says(later, tid(card(quick), "message"), "ran out")
	ada.enabled(later, tid(card(quick), "reserve"))

	left, c := tid(card(id), "available"), card(id)
	// Given back by hand.
	ada.press(tid(c, "reserve"))
	bob.shows(later, left, "1")
	ada.press(tid(c, "give-back"))
	bob.shows(later, left, "2")

	// Bought.
	ada.press(tid(c, "reserve"))
	ada.press(tid(c, "buy"))
	ada.says(later, tid(c, "receipt"), "yours")
	bob.shows(soon, left, "1")
	bob.says(later, tid(c, "buyers"), "Ada Lovelace")

	// The last unit: both want it, one gets it, the other reads that it is gone.
	ada.press(tid(c, "receipt-done"))
	bob.introduce("Bob", "bob@example.com")
	ada.enabled(later, tid(c, "reserve"))
	bob.enabled(later, tid(c, "reserve"))
	atOnce(2, func(i int) {
		[]*visitor{ada, bob}[i].choose(tid(c, "reserve"))
	})
	harness.Eventually(t, later, func() error {
		holders := 0
		for _, v := range []*visitor{ada, bob} {
			if v.text(tid(c, "hold-remaining")) != "" {
				holders++
			}
		}
		if holders != 1 {
			return fmt.Errorf("%d people hold the last unit", holders)
		}
		return nil
	})
	winner, loser := ada, bob
	if ada.text(tid(c, "hold-remaining")) == "" {
		winner, loser = bob, ada
	}
	loser.says(soon, c, "sold out")
	winner.press(tid(c, "buy"))
	winner.says(later, tid(c, "receipt"), "yours")
	loser.says(later, tid(c, "state-text"), "sold out")
	d.balanced(t)
}

// TestBrowserSizes has a sold-out size come back by itself.
func TestBrowserSizes(t *testing.T) {
	d := newDeployment(t)
	server := d.serve(t)
	s := newShop(t, server)
	id := s.open(2, object{"hold_seconds": 4, "limit_per_customer": 1, "sizes": []object{{"size": "42", "stock": 1}, {"size": "43", "stock": 1}}})
	v := newBrowser(t).visit(server, "/")
	v.introduce("Cleo", "cleo@example.com")
	size := func(name string) string { return fmt.Sprintf(`%s[data-size="%s"]`, tid(card(id), "size"), name) }
	free := func(name string, want bool) {
		t.Helper()
		harness.Eventually(t, later, func() error {
			disabled := eval[bool](v, fmt.Sprintf(`document.querySelector(%q).disabled`, size(name)))
			if disabled == want {
				return fmt.Errorf("size %s can be chosen: %v, want %v", name, !disabled, want)
			}
			return nil
		})
	}
	v.shows(later, tid(card(id), "available"), "2")
	free("42", true)
	s.mustReserve(object{"dropId": id, "userName": "dora", "size": "42"})
	free("42", false)
	free("43", true)
	free("42", true) // Dora's hold has lapsed
	v.choose(size("43"))
	v.press(tid(card(id), "reserve"))
	v.press(tid(card(id), "buy"))
	v.says(later, tid(card(id), "receipt"), "43")
	v.press(tid(card(id), "receipt-done"))
	// One a customer: the other size is refused in words.
	v.choose(size("42"))
	v.press(tid(card(id), "reserve"))
	v.says(later, tid(card(id), "message"), "one per customer")
}

// TestBrowserCountdown has the button open by itself when the drop starts.
func TestBrowserCountdown(t *testing.T) {
	d := newDeployment(t)
	server := d.serve(t)
	s := newShop(t, server)
	v := newBrowser(t).visit(server, "/")
	v.introduce("Eve", "eve@example.com")
	start := time.Now().Add(5 * time.Second)
	id := s.open(3, object{"start_time": start.UTC().Format(time.RFC3339Nano)}) // appears by itself
	v.shows(later, tid(card(id), "available"), "3")
	closed := eval[bool](v, fmt.Sprintf(`(() => {
		const b = document.querySelector(%q);
		return b.disabled || b.getAttribute("aria-disabled") === "true" || b.getClientRects().length === 0;
	})()`, tid(card(id), "reserve")))
	if !closed && time.Now().Before(start) {
		t.Error("the button is open before the start")
	}
	v.enabled(later, tid(card(id), "reserve"))
	if early := time.Until(start); early > 100*time.Millisecond || early < -2*time.Second {
		t.Errorf("the button opened %v before the start", early)
	}
	v.press(tid(card(id), "reserve"))
	v.press(tid(card(id), "buy"))
	v.says(later, tid(card(id), "receipt"), "yours")
}

// TestBrowserRestart stops the server under two pages and starts it again: they
// say so, and recover by themselves.
func TestBrowserRestart(t *testing.T) {
	d := newDeployment(t)
	server := d.serve(t)
	s := newShop(t, server)
	id := s.open(5, nil)
	b := newBrowser(t)
	shop, console := b.visit(server, "/"), b.visit(server, consoleOf(id))
	shop.introduce("Finn", "finn@example.com")
	shop.shows(later, tid(card(id), "available"), "5")
	shop.press(tid(card(id), "reserve"))
	shop.shows(later, tid(card(id), "available"), "4")
	console.state(later, "live")

	if status := server.Terminate(); status != 0 {
		t.Errorf("it ended with %d", status)
	}
	harness.Eventually(t, later, func() error {
		for _, v := range []*visitor{shop, console} {
			if v.line() == "live" {
				return errors.New("a page believes to be live")
			}
		}
		return nil
	})
	server.Again()
	server.Ready()
	shop.state(later, "live")
	console.state(later, "live")
	s.mustReserve(object{"dropId": id, "userName": "gil"})
	shop.shows(later, tid(card(id), "available"), "3")
	console.shows(later, tid("", "figure-held"), "2")
	shop.press(tid(card(id), "buy")) // the hold has outlived the restart
	shop.says(later, tid(card(id), "receipt"), "yours")
	console.shows(later, tid("", "figure-sold"), "1")
	// And a reload finds the receipt.
	shop.do(chromedp.Reload())
	shop.says(later, tid(card(id), "receipt"), "yours")
}
