package api

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/holdfast/holdfast/api/fair"
)

// fairly are the handlers of a call of a class: first the limit of the address
// it comes from, before anything of it is read or a token is checked. Without
// fair use there is the handler alone.
func (a *API) fairly(class fair.Class, handler fiber.Handler) []fiber.Handler {
	if a.cfg.Fair == nil {
		return []fiber.Handler{handler}
	}
	return []fiber.Handler{a.limited(class), handler}
}

// limited limits calls by address. Who goes on all the same loses the
// connection: to make a new one is limited too, and refused at less cost. Proxies
// keep theirs, on which others call too.
func (a *API) limited(class fair.Class) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if err := a.cfg.Fair.Address(class, a.client(c)); err != nil {
			if !a.cfg.Proxies.Trust(addressOf(c.Context().RemoteAddr())) {
				c.Context().SetConnectionClose()
			}
			return err
		}
		return c.Next()
	}
}

// fairlyBegun limits the sessions of Socket.IO that begin. A poll of one that
// has begun is answered when there is news, however often that is.
func (a *API) fairlyBegun(handlers ...fiber.Handler) []fiber.Handler {
	if a.cfg.Fair == nil {
		return handlers
	}
	limit := a.limited(fair.Socket)
	return slices.Insert(handlers, 0, func(c *fiber.Ctx) error {
		if c.Query("sid") != "" {
			return c.Next()
		}
		return limit(c)
	})
}

// fairTo limits the calls of a class that one person makes; 0: a call that does
// not say who makes it, which counts for its address alone.
func (a *API) fairTo(class fair.Class, who int64) error {
	if a.cfg.Fair == nil || who == 0 {
		return nil
	}
	return a.cfg.Fair.User(class, who)
}

// client is the address of who calls: that of the connection, or what trusted
// proxies say.
func (a *API) client(c *fiber.Ctx) netip.Addr {
	peer := addressOf(c.Context().RemoteAddr())
	if !a.cfg.Proxies.Trust(peer) {
		return peer
	}
	lines := c.Request().Header.PeekAll(fiber.HeaderXForwardedFor)
	forwarded := make([]string, len(lines))
	for i, line := range lines {
		forwarded[i] = string(line)
	}
	return a.cfg.Proxies.Client(peer, forwarded...)
}

// clientName is client as text.
func (a *API) clientName(c *fiber.Ctx) string { return a.client(c).String() }

// addressOf is the zero Addr where a is no address of TCP.
func addressOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}

// admit says whether a new connection may be served, and gives what has to be
// called when it is closed; nil for nothing. Proxies have the connections of all.
func (a *API) admit(c net.Conn) (left func(), ok bool) {
	from := addressOf(c.RemoteAddr())
	if a.cfg.Fair == nil || a.cfg.Proxies.Trust(from) {
		return nil, true
	}
	if !a.cfg.Fair.Connect(from) {
		return nil, false
	}
	return func() { a.cfg.Fair.Disconnect(from) }, true
}

// tellWhen says in the headers of a 429 when to come again, and by which limit.
func tellWhen(c *fiber.Ctx, err error) {
	if r := (*fair.RefusalError)(nil); errors.As(err, &r) {
		c.Set("RateLimit-Policy", r.Policy())
		c.Set("RateLimit", r.Left())
	}
	var later interface{ RetryAfter() time.Duration }
	if errors.As(err, &later) {
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(fair.Seconds(later.RetryAfter())))
	}
}

// fairUse is what readyz says of it.
func (a *API) fairUse() string {
	if a.cfg.Fair == nil {
		return "off"
	}
	return "on"
}
