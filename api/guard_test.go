package api

import (
	"testing"

	"github.com/gofiber/fiber/v2"
)

// A guard stands before the last handler of a route: a route with more of them would
// do something before it is asked, so it must not come up.
func TestOneThingBehindAGuard(t *testing.T) {
	t.Parallel()
	nothing := func(*fiber.Ctx) error { return nil }
	add := func(handlers ...fiber.Handler) (said any) {
		defer func() { said = recover() }()
		a := &API{app: fiber.New()}
		a.behind(nothing, func() { a.app.Get("/x", handlers...) })
		return nil
	}
	if said := add(nothing); said != nil {
		t.Errorf("one call: %v", said)
	}
	if add(nothing, nothing) == nil {
		t.Error("a route that does something before its guard comes up")
	}
}
