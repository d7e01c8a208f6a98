package api

import (
	"net/http/pprof"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
)

// maxProfile is how many seconds a profile may take.
const maxProfile = 60

// profile serves Go's profiles of this process: /debug/pprof/ lists them. The
// command line is left out, as it may have passwords in it.
func (a *API) profile(c *fiber.Ctx) error {
	if _, err := queryInteger(c, "seconds", maxProfile, 1); err != nil {
		return err
	}
	switch name := c.Params("name"); name {
	case "":
		return adaptor.HTTPHandlerFunc(pprof.Index)(c)
	case "cmdline":
		return fiber.ErrNotFound
	case "profile":
		return adaptor.HTTPHandlerFunc(pprof.Profile)(c)
	case "symbol":
		return adaptor.HTTPHandlerFunc(pprof.Symbol)(c)
	case "trace":
		return adaptor.HTTPHandlerFunc(pprof.Trace)(c)
	default:
		return adaptor.HTTPHandler(pprof.Handler(name))(c)
	}
}
