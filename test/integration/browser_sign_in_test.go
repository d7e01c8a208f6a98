package integration

import (
	"fmt"
	"testing"

	"github.com/holdfast/holdfast/test/harness"
)

// TestBrowserSignIn opens the console without a token, with a wrong one, and
// with the right one, which the address bar keeps no trace of.
func TestBrowserSignIn(t *testing.T) {
	d := newDeployment(t)
	server := d.serve(t)
	id := newShop(t, server).open(7, nil)
	b := newBrowser(t)
	console := b.visit(server, fmt.Sprintf("/console#%d", id))
	const input, submit, note = "#sign-in-token", `[data-testid="sign-in-submit"]`, "#sign-in-note"
	isOpen := func(want bool) {
		t.Helper()
		harness.Eventually(t, later, func() error {
			if got := eval[bool](console, `document.getElementById("sign-in-dialog").open`); got != want {
				return fmt.Errorf("the dialog is open: %t", got)
			}
			return nil
		})
	}
	isOpen(true)
	console.fill(input, harness.AdminToken+"x")
	console.press(submit)
	console.says(later, note, "does not take")
	isOpen(true)
	console.fill(input, harness.AdminToken)
	console.press(submit)
	isOpen(false)
	console.shows(later, tid("", "figure-available"), "7")
	console.says(later, "#holds-note", "Nobody holds")

	linked := b.visit(server, consoleOf(id))
	linked.says(later, "#holds-note", "Nobody holds")
	if at := eval[string](linked, `location.href`); at != fmt.Sprintf("%s/console#%d", server.URL, id) {
		t.Errorf("the address is %s", at)
	}
}
