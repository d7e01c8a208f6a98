package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/holdfast/holdfast/api/fair"
	"github.com/holdfast/holdfast/api/identity"
	"github.com/holdfast/holdfast/persist"
)

// MinAdminToken is the fewest characters of an admin token.
const MinAdminToken = 32

var (
	errUnauthenticated = errors.New("no bearer token")
	errForbidden       = errors.New("token is not the admin's")
	errUserMismatch    = errors.New("body names another person than the token")
)

// CheckAdminToken returns an error that says what is wrong with an admin token.
// It is sent as a Bearer token, so only what these have may be in it.
func CheckAdminToken(token string) error {
	if len(token) < MinAdminToken {
		return fmt.Errorf("has %d characters, fewer than %d", len(token), MinAdminToken)
	}
	if !isToken([]byte(token)) {
		return errors.New("must have letters, digits and -._~+/ alone, and = at its end")
	}
	return nil
}

// isToken says whether b is what RFC 6750 lets a Bearer token be.
func isToken(b []byte) bool {
	b = bytes.TrimRight(b, "=")
	return len(b) > 0 && !bytes.ContainsFunc(b, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune("-._~+/", r)
	})
}

// bearer is the request's token. Anything but one header that is one is an error.
func bearer(c *fiber.Ctx) (string, error) {
	given := c.Request().Header.PeekAll(fiber.HeaderAuthorization)
	if len(given) == 0 {
		return "", errUnauthenticated
	}
	scheme, token, _ := bytes.Cut(given[0], []byte(" "))
	switch {
	case len(given) > 1:
		return "", identity.ErrInvalid
	case !bytes.EqualFold(scheme, []byte("Bearer")):
		return "", errUnauthenticated
	case !isToken(token):
		return "", identity.ErrInvalid
	}
	return string(token), nil
}

// behind has every route that add adds ask guard before the call itself, and
// after the limits of fair use, which cost less: none can be forgotten.
func (a *API) behind(guard fiber.Handler, add func()) {
	most := len(a.fairly(fair.Read, nil)) // a limit, where there are any, and the call
	known := map[*fiber.Route]bool{}
	for _, method := range a.app.Stack() {
		for _, route := range method {
			known[route] = true
		}
	}
	add()
	for _, method := range a.app.Stack() {
		for _, route := range method {
			if !known[route] {
				known[route] = true
				if len(route.Handlers) > most {
					panic("api: " + route.Path + " does more than one thing behind its guard")
				}
				route.Handlers = slices.Insert(slices.Clone(route.Handlers), len(route.Handlers)-1, guard)
			}
		}
	}
}

// admin lets the admin pass, at the back door where there is one: at the front
// there are no such routes then.
func (a *API) admin(c *fiber.Ctx) error {
	if a.hidden(c) {
		return fiber.ErrNotFound
	}
	token, err := bearer(c)
	if err != nil {
		return err
	}
	if a.isAdmin(token) {
		return c.Next()
	}
	if a.cfg.Identity == nil {
		return identity.ErrInvalid
	}
	switch _, err := a.cfg.Identity.Verify(a.deadlines.next(), token); {
	case err == nil:
		return errForbidden
	case errors.Is(err, identity.ErrExpired):
		return err
	}
	return identity.ErrInvalid
}

// isAdmin compares sums of the same length in constant time: how long it takes
// says neither how many characters are right nor how many there are.
func (a *API) isAdmin(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], a.adminSum[:]) == 1
}

// buyer lets everybody with a valid token pass, and remembers who it is.
func (a *API) buyer(c *fiber.Ctx) error {
	token, err := bearer(c)
	if err != nil {
		return err
	}
	ctx := a.deadlines.next()
	person, err := a.cfg.Identity.Verify(ctx, token)
	if err != nil {
		return err
	}
	user, err := a.userOf(ctx, person)
	if err != nil {
		return err
	}
	c.Locals(callerKey{}, user)
	return c.Next()
}

// userOf is the id of the user whom a token names: its sub, where that is the id
// of a user; else the user of that subject, who is added at first sight.
func (a *API) userOf(ctx context.Context, p identity.Person) (int64, error) {
	id, err := strconv.ParseInt(p.Subject, 10, 64)
	if err == nil && id >= 1 && id <= maxSafeInteger && strconv.FormatInt(id, 10) == p.Subject {
		err = a.users.Known(ctx, id)
		if errors.Is(err, persist.ErrNotFound) {
			err = identity.ErrInvalid // the token is of a user whom nobody knows
		}
		return id, err
	}
	name := strings.TrimSpace(p.Name)
	// It is shown to everybody: an address must not be.
	if len(name) > maxUsername || strings.ContainsFunc(name, isControl) || strings.ContainsRune(name, '@') {
		name = ""
	}
	id, err = a.users.OfSubject(ctx, persist.Subject{Issuer: p.Issuer, Subject: p.Subject}, name)
	if errors.Is(err, persist.ErrInvalid) {
		err = identity.ErrInvalid
	}
	return id, err
}

type callerKey struct{}

// callerOf is the user whose token the request brings; 0 where identity is
// open, and anybody may do everything.
func callerOf(c *fiber.Ctx) int64 {
	user, _ := c.Locals(callerKey{}).(int64)
	return user
}

// challenge has an answer say, as RFC 6750 asks, which token is missed.
func challenge(c *fiber.Ctx, code string) {
	switch code {
	case "unauthenticated":
		c.Set(fiber.HeaderWWWAuthenticate, "Bearer")
	case "invalid_token":
		c.Set(fiber.HeaderWWWAuthenticate, `Bearer error="invalid_token"`)
	case "forbidden":
		c.Set(fiber.HeaderWWWAuthenticate, `Bearer error="insufficient_scope"`)
	}
}

// Route is one way into the API: a method and a pattern of paths.
type Route struct{ Method, Path string }

// Routes are all that there are.
func (a *API) Routes() []Route {
	routes := a.app.GetRoutes(true)
	all := make([]Route, len(routes))
	for i, r := range routes {
		all[i] = Route{r.Method, r.Path}
	}
	return all
}
