package integration

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/holdfast/holdfast/test/harness"
)

// browser is one Chromium for a test. Each visitor of it has cookies and
// storage of his own, as in a browser of his own.
type browser struct {
	t   testing.TB
	ctx context.Context
}

// browsers are the names that Chromium and its kin go by.
var browsers = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"}

func newBrowser(t testing.TB) *browser {
	t.Helper()
	var path string
	for _, name := range browsers {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatalf("none of %s is in PATH: install Chromium (make test does where it can)", strings.Join(browsers, ", "))
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WSURLReadTimeout(60*time.Second),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return &browser{t: t, ctx: ctx}
}

// consoleOf is the console on a drop, or on none (0), with the admin token.
func consoleOf(drop int64) string {
	if drop == 0 {
		return "/console#token=" + harness.AdminToken
	}
	return fmt.Sprintf("/console#%d&token=%s", drop, harness.AdminToken)
}

// visitor is one person's tab, and what went wrong in it.
type visitor struct {
	t    testing.TB
	ctx  context.Context
	home string // the server's address

	mu     sync.Mutex
	faults []string
}

// visit opens a path of the server as somebody new. Errors in the page, and
// requests to any other host, fail the test at its end.
func (b *browser) visit(p *harness.Process, path string, first ...chromedp.Action[chromedp.Void]) *visitor {
	b.t.Helper()
	v := &visitor{t: b.t, home: p.URL}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(v.notice))
	v.ctx = ctx
	b.t.Cleanup(func() {
		cancel()
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, f := range v.faults {
			b.t.Errorf("%s: %s", path, f)
		}
	})
	if err := chromedp.Do(ctx); err != nil { // the tab lives as long as the context of its first call
		b.t.Fatal(err)
	}
	v.do(call(cdplog.Enable, cdp.Empty{}), call(network.Enable, network.EnableParams{}))
	v.do(first...)
	v.do(chromedp.Navigate(p.URL + path))
	return v
}

// call is a command of the browser's protocol as an action.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

// notice keeps what a page must not do.
func (v *visitor) notice(event any) {
	fault := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		fault = "exception: " + e.ExceptionDetails.Text
		if thrown := e.ExceptionDetails.Exception; thrown != nil {
			fault += " " + thrown.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			words := make([]string, 0, len(e.Args))
			for _, arg := range e.Args {
				words = append(words, string(arg.Value)+arg.Description)
			}
			fault = fmt.Sprintf("console.%s: %s", e.Type, strings.Join(words, " "))
		}
	case *cdplog.EventEntryAdded:
		// The browser's own notes on refusals (400 …) and on a server that is
		// away are no faults of the page.
		if e.Entry.Level == cdplog.EntryLevelError && e.Entry.Source != cdplog.EntrySourceNetwork {
			fault = fmt.Sprintf("%s: %s", e.Entry.Source, e.Entry.Text)
		}
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || u.Scheme != "data" && "http://"+u.Host != v.home {
			fault = "request to " + e.Request.URL
		}
	case *network.EventWebSocketCreated:
		if u, err := url.Parse(e.URL); err != nil || "http://"+u.Host != v.home {
			fault = "WebSocket to " + e.URL
		}
	}
	if fault != "" {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.faults = append(v.faults, fault)
	}
}

func (v *visitor) do(actions ...chromedp.Action[chromedp.Void]) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		v.t.Fatal(err)
	}
}

// tid selects an element by its data-testid, within a scope.
func tid(scope, id string) string {
	return strings.TrimSpace(fmt.Sprintf(`%s [data-testid="%s"]`, scope, id))
}

// card selects a drop's card on the shop page.
func card(drop int64) string { return fmt.Sprintf(`[data-testid="drop"][data-drop-id="%d"]`, drop) }

// text is what the first element that the selector finds reads; empty if there
// is none or it is hidden.
func (v *visitor) text(selector string) string {
	v.t.Helper()
	return eval[string](v, fmt.Sprintf(`(() => {
		const found = document.querySelector(%q);
		return found && found.getClientRects().length ? found.innerText : "";
	})()`, selector))
}

// eval is the value of a script in the page.
func eval[T any](v *visitor, script string) T {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, 30*time.Second)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		v.t.Fatal(err)
	}
	return value
}

// reads waits until the element's text satisfies the condition.
func (v *visitor) reads(within time.Duration, selector, want string, satisfied func(text string) bool) {
	v.t.Helper()
	harness.Eventually(v.t, within, func() error {
		if text := v.text(selector); !satisfied(text) {
			return fmt.Errorf("%s reads %q, want %s", selector, text, want)
		}
		return nil
	})
}

// shows waits until the element reads exactly this.
func (v *visitor) shows(within time.Duration, selector, text string) {
	v.t.Helper()
	v.reads(within, selector, fmt.Sprintf("%q", text), func(got string) bool { return strings.TrimSpace(got) == text })
}

// says waits until the element's text contains the words, whatever their case.
func (v *visitor) says(within time.Duration, selector, words string) {
	v.t.Helper()
	v.reads(within, selector, fmt.Sprintf("… %q …", words), func(got string) bool {
		return strings.Contains(strings.ToLower(got), strings.ToLower(words))
	})
}

// enabled waits until a button can be pressed.
func (v *visitor) enabled(within time.Duration, selector string) {
	v.t.Helper()
	harness.Eventually(v.t, within, func() error {
		ok := eval[bool](v, fmt.Sprintf(`(() => {
			const b = document.querySelector(%q);
			return Boolean(b && b.getClientRects().length && !b.disabled && b.getAttribute("aria-disabled") !== "true");
		})()`, selector))
		if !ok {
			return fmt.Errorf("%s cannot be pressed; it reads %q", selector, v.text(selector))
		}
		return nil
	})
}

// press waits until the button can be pressed and clicks it.
func (v *visitor) press(selector string) {
	v.t.Helper()
	v.enabled(10*time.Second, selector)
	v.do(chromedp.Click(chromedp.CSS(selector)))
}

// fill replaces what an input holds.
func (v *visitor) fill(selector, value string) {
	v.t.Helper()
	eval[bool](v, fmt.Sprintf(`(() => {
		const input = document.querySelector(%q);
		input.value = "";
		return input.dispatchEvent(new Event("input", { bubbles: true }));
	})()`, selector))
	v.do(chromedp.SendKeys(chromedp.CSS(selector), value))
}

// introduce gives the page a name, before anything is bought.
func (v *visitor) introduce(name, email string) {
	v.t.Helper()
	v.press(tid("", "who"))
	v.fill(tid("", "name-input"), name)
	v.fill(tid("", "email-input"), email)
	v.press(tid("", "name-save"))
	v.says(5*time.Second, tid("", "who"), name)
}

// line is the state of the page's live line: connecting, live or offline.
func (v *visitor) line() string {
	v.t.Helper()
	return eval[string](v, `document.querySelector('[data-testid="connection"]').dataset.state`)
}

// choose clicks an element by script, where a real click could miss one that
// another has just moved.
func (v *visitor) choose(selector string) {
	v.t.Helper()
	eval[bool](v, fmt.Sprintf(`(document.querySelector(%q).click(), true)`, selector))
}

// state waits for a state of the page's live line.
func (v *visitor) state(within time.Duration, want string) {
	v.t.Helper()
	harness.Eventually(v.t, within, func() error {
		if state := v.line(); state != want {
			return fmt.Errorf("the live line is %s, want %s", state, want)
		}
		return nil
	})
}

// picture keeps a screenshot in the folder HOLDFAST_PICTURES, if that is set.
func (v *visitor) picture(name string) {
	v.t.Helper()
	folder := os.Getenv("HOLDFAST_PICTURES")
	if folder == "" {
		return
	}
	ctx, cancel := context.WithTimeout(v.ctx, 30*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		v.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), png, 0o644); err != nil {
		v.t.Fatal(err)
	}
}

// screen is what the page is looked at with.
func screen(width, height int64, dark bool) chromedp.Action[chromedp.Void] {
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	return chromedp.Steps(
		chromedp.EmulateViewport(width, height),
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		}),
	)
}
