package api

import (
	"fmt"
	"net"

	"github.com/gofiber/fiber/v2"
)

// ServeBack answers requests on l until Shutdown, as Serve does and with
// Config.Back also those of the admin, which Serve then knows nothing of. Its
// connections are counted apart, so that an operator gets in where the front is full.
func (a *API) ServeBack(l net.Listener) error {
	d := newDoor(l)
	a.back.Store(d)
	if err := a.app.Server().Serve(lingeringListener{Listener: d, back: true}); err != nil {
		return fmt.Errorf("api: back: %w", err)
	}
	return nil
}

// atBack says whether the request came in by ServeBack.
func atBack(c *fiber.Ctx) bool {
	conn, ok := c.Context().Conn().(*lingeringConn)
	return ok && conn.back
}

// hidden says whether the request came in at the front, where there is a back.
func (a *API) hidden(c *fiber.Ctx) bool { return a.cfg.Back && !atBack(c) }

// backOnly hides a page of operators from the front where there is a back.
func (a *API) backOnly(c *fiber.Ctx) error {
	if a.hidden(c) {
		return fiber.ErrNotFound
	}
	return c.Next()
}
