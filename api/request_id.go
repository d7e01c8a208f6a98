package api

import (
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
)

// maxRequestID is the longest request id that is taken over from a caller.
const maxRequestID = 64

// requestIDs names the requests of one instance: a prefix that no other instance
// has, and a number. They find a request in the log and are no secret.
type requestIDs struct {
	prefix string
	last   atomic.Uint64
	rooms  sync.Pool // of *[]byte, to make ids in
}

func newRequestIDs() *requestIDs {
	var start [8]byte
	_, _ = rand.Read(start[:]) // never fails
	return &requestIDs{
		prefix: hex.EncodeToString(start[:]) + "-",
		rooms:  sync.Pool{New: func() any { b := make([]byte, 0, maxRequestID); return &b }},
	}
}

// name gives the request its id, which its answer bears: the caller's own if it
// is well formed, so that one id goes through all servers, else a new one.
func (r *requestIDs) name(c *fiber.Ctx) {
	if id := c.Request().Header.Peek(fiber.HeaderXRequestID); wellFormedID(id) {
		c.Response().Header.SetBytesV(fiber.HeaderXRequestID, id)
		return
	}
	room := r.rooms.Get().(*[]byte) //nolint:forcetypeassert // nothing else is in the pool
	*room = strconv.AppendUint(append((*room)[:0], r.prefix...), r.last.Add(1), 36)
	c.Response().Header.SetBytesV(fiber.HeaderXRequestID, *room)
	r.rooms.Put(room)
}

// of is the id of a request that has one.
func (*requestIDs) of(c *fiber.Ctx) string {
	return string(c.Response().Header.Peek(fiber.HeaderXRequestID))
}

// wellFormedID says whether an id is 1 to 64 of A–Z, a–z, 0–9, dot, dash and
// underscore: nothing that a log or a terminal would take for anything else.
func wellFormedID(id []byte) bool {
	if len(id) == 0 || len(id) > maxRequestID {
		return false
	}
	for _, b := range id {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '.', b == '-', b == '_':
		default:
			return false
		}
	}
	return true
}

// named names every request, and logs it at debug level: by its route, never
// with its path, query, headers or body, which may hold what is nobody's business.
func (a *API) named(c *fiber.Ctx) error {
	a.requestIDs.name(c)
	if !a.log.Enabled(c.Context(), slog.LevelDebug) {
		return c.Next()
	}
	began := time.Now()
	err := c.Next()
	a.log.Debug("request", "request_id", a.requestIDs.of(c), "method", c.Route().Method, "route", a.metrics.route(c),
		"status", c.Response().StatusCode(), "took", time.Since(began))
	return err
}
