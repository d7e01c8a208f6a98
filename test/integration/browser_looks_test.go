package integration

import (
	"fmt"
	"testing"

	"github.com/holdfast/holdfast/test/harness"
)

// TestBrowserLooks shows both pages on a phone and on a wide screen, in light
// and dark: everything fits, and everything that can be pressed has a name. With
// HOLDFAST_PICTURES set to a folder it leaves pictures there.
func TestBrowserLooks(t *testing.T) {
	d := newDeployment(t)
	server := d.serve(t)
	if printed, status := d.run(t, "seed"); status != 0 {
		t.Fatalf("seed: %s", printed)
	}
	s := newShop(t, server)
	var drops []drop
	if a := s.call("GET", "/api/drops", nil, &drops); a.err != nil || len(drops) != 3 {
		t.Fatalf("drops: %v", a)
	}
	upcoming, sized, plain := drops[0].ID, drops[1].ID, drops[2].ID
	for i, name := range []string{"mira", "jonas", "amelie"} {
		s.mustBuy(s.mustReserve(object{"dropId": plain, "userName": name}).ID)
		s.mustReserve(object{"dropId": sized, "userName": name, "size": []string{"US 8", "US 9", "US 11"}[i]})
	}
	for i := range 36 {
		s.mustBuy(s.mustReserve(object{"dropId": plain, "userName": fmt.Sprint("guest ", i)}).ID)
	}
	for i := range 5 {
		s.mustReserve(object{"dropId": sized, "userName": fmt.Sprint("other ", i), "size": "US 11"})
		if i == 3 {
			break // the last pair of the size is held now
		}
	}
	b := newBrowser(t)
	for _, look := range []struct {
		name          string
		width, height int64
		dark          bool
	}{
		{"wide-light", 1280, 960, false}, {"wide-dark", 1280, 960, true},
		{"phone-light", 360, 740, false}, {"phone-dark", 360, 740, true},
	} {
		shop := b.visit(server, "/", screen(look.width, look.height, look.dark))
		shop.introduce("Ada Lovelace", "ada@example.com")
		shop.says(later, tid(card(plain), "buyers"), "guest")
		if look.name == "wide-light" || look.name == "phone-dark" {
			shop.press(tid(card(plain), "reserve"))
			shop.reads(later, tid(card(plain), "hold-remaining"), "the time left", func(text string) bool { return text != "" })
		}
		shop.fits(look.name)
		shop.picture("shop-" + look.name)

		console := b.visit(server, consoleOf(upcoming), screen(look.width, look.height, look.dark))
		console.state(later, "live")
		console.shows(later, tid("", "figure-total"), "50")
		console.fits(look.name)
		console.picture("console-" + look.name)
	}
}

// fits fails the test if the page is wider than its screen, or has a control
// that a screen reader could not name.
func (v *visitor) fits(look string) {
	v.t.Helper()
	harness.Eventually(v.t, later, func() error {
		if wide := eval[int](v, `document.documentElement.scrollWidth - window.innerWidth`); wide > 0 {
			return fmt.Errorf("%s: the page is %d pixels wider than its screen", look, wide)
		}
		return nil
	})
	nameless := eval[[]string](v, `[...document.querySelectorAll("button, a[href], input, select")]
		.filter((e) => e.getClientRects().length && e.type !== "hidden")
		.filter((e) => !(e.innerText?.trim() || e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.labels?.length))
		.map((e) => e.outerHTML.slice(0, 120))`)
	for _, e := range nameless {
		v.t.Errorf("%s: a control without a name: %s", look, e)
	}
}
