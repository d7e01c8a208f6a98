package api_test

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/test/harness"
)

// The callers of the table.
var callers = []string{"nobody", "user", "other", "expired", "wrong signature", "alg none", "wrong audience", "admin"}

// statuses are what each of the callers is answered, in their order.
type statuses [8]int

func everybody(status int) (s statuses) {
	for i := range s {
		s[i] = status
	}
	return s
}

var (
	// adminOnly: in open mode there are no users with tokens.
	adminOpen = func(ok int) statuses { return statuses{401, 401, 401, 401, 401, 401, 401, ok} }
	adminJWT  = func(ok int) statuses { return statuses{401, 403, 403, 401, 401, 401, 401, ok} }
	buyerJWT  = func(own, others int) statuses { return statuses{401, own, others, 401, 401, 401, 401, 401} }
)

// access is who may do what by one route, with a request that is in order.
type access struct {
	body      string // {user}, {drop}, {hold}, {bought} and {lapsed} stand for ids
	path      string // the route's own, where empty
	open, jwt statuses
}

// Every route of the API has a line. Where a state would differ after the first
// call, the request is one that is answered the same again.
var accesses = map[string]access{
	"GET /api/drops/create":   {open: everybody(405), jwt: everybody(405)},
	"GET /api/drops/reserve":  {open: everybody(405), jwt: everybody(405)},
	"GET /api/drops/purchase": {open: everybody(405), jwt: everybody(405)},
	"GET /api/drops/cancel":   {open: everybody(405), jwt: everybody(405)},
	"GET /api/drops":          {open: everybody(200), jwt: everybody(200)},
	"GET /api/drops/:id":      {path: "/api/drops/{drop}", open: everybody(200), jwt: everybody(200)},

	"POST /api/drops/reserve": {
		body: `{"dropId":{drop},"userId":{user}}`, open: everybody(201), jwt: buyerJWT(201, 403),
	},
	"POST /api/drops/purchase": {
		body: `{"reservationId":{bought}}`, open: everybody(200), jwt: buyerJWT(200, 404),
	},
	"POST /api/drops/cancel": {
		body: `{"reservationId":{bought}}`, open: everybody(409), jwt: buyerJWT(409, 404),
	},
	"GET /api/reservations/:id": {path: "/api/reservations/{hold}", open: everybody(200), jwt: buyerJWT(200, 404)},
	"GET /api/users/:id":        {path: "/api/users/{user}", open: everybody(200), jwt: buyerJWT(200, 404)},

	"POST /api/users": {body: `{"username":"ada"}`, open: everybody(200), jwt: adminJWT(200)},
	"POST /api/drops/create": {
		body: `{"name":"n","price":1,"total_stock":2,"start_time":"2026-11-23T18:00:00Z"}`, open: adminOpen(201), jwt: adminJWT(201),
	},
	"GET /api/drops/:id/holds":  {path: "/api/drops/{drop}/holds", open: adminOpen(200), jwt: adminJWT(200)},
	"GET /api/admin/figures":    {path: "/api/admin/figures?drop={drop}", open: adminOpen(200), jwt: adminJWT(200)},
	"PATCH /api/drops/create":   {open: everybody(405), jwt: everybody(405)},
	"PATCH /api/drops/reserve":  {open: everybody(405), jwt: everybody(405)},
	"PATCH /api/drops/purchase": {open: everybody(405), jwt: everybody(405)},
	"PATCH /api/drops/cancel":   {open: everybody(405), jwt: everybody(405)},

	"PATCH /api/drops/:id": {path: "/api/drops/{drop}", body: `{"state":"live"}`, open: adminOpen(200), jwt: adminJWT(200)},
	"DELETE /api/drops/:id/holds/:reservation": {
		path: "/api/drops/{drop}/holds/{hold}", open: adminOpen(200), jwt: adminJWT(200),
	},
	"GET /api/drops/:id/sales.csv":        {path: "/api/drops/{drop}/sales.csv", open: adminOpen(200), jwt: adminJWT(200)},
	"GET /api/admin/audit":                {open: adminOpen(200), jwt: adminJWT(200)},
	"GET /api/admin/log":                  {open: adminOpen(200), jwt: adminJWT(200)},
	"GET /api/admin/webhooks/dead":        {open: adminOpen(200), jwt: adminJWT(200)},
	"POST /api/admin/webhooks/:id/resend": {path: "/api/admin/webhooks/1/resend", open: adminOpen(404), jwt: adminJWT(404)},

	"GET /metrics":            {open: adminOpen(200), jwt: adminJWT(200)},
	"GET /debug/pprof/:name?": {path: "/debug/pprof/goroutine", open: adminOpen(200), jwt: adminJWT(200)},

	"GET /ws":           {open: everybody(426), jwt: everybody(426)},
	"GET /socket.io/":   {path: "/socket.io/?EIO=3&transport=polling", open: everybody(400), jwt: everybody(400)},
	"GET /":             {open: everybody(200), jwt: everybody(200)},
	"GET /console":      {open: everybody(200), jwt: everybody(200)},
	"GET /healthz":      {open: everybody(200), jwt: everybody(200)},
	"GET /readyz":       {open: everybody(200), jwt: everybody(200)},
	"GET /openapi.yaml": {open: everybody(200), jwt: everybody(200)},
	"GET /openapi.json": {open: everybody(200), jwt: everybody(200)},
	"GET /docs":         {open: everybody(200), jwt: everybody(200)},
}

// routesOf are the API's own, as METHOD PATH: not the methods that fiber adds
// to a GET, not the files of the pages.
func routesOf(a *api.API) []string {
	seen := map[string]bool{}
	for _, r := range a.Routes() {
		if !strings.HasPrefix(r.Path, "/assets/") && r.Method != http.MethodHead && (r.Path != "/socket.io/" || r.Method == http.MethodGet) {
			seen[r.Method+" "+r.Path] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// TestWhoMayDoWhat makes the request of every route as each of the callers, in
// both modes, and holds the status against the table. A route without a line fails.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"open", "jwt"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			var changes []func(*wiring)
			if mode == "jwt" {
				changes = append(changes, withTokens(t))
			}
			s := newServer(t, changes...)
			routes := routesOf(s.api)
			for _, route := range routes {
				if _, ok := accesses[route]; !ok {
					t.Errorf("nothing says who may %s", route)
				}
			}
			for route := range accesses {
				if !slices.Contains(routes, route) {
					t.Errorf("there is no route %s", route)
				}
			}
			drop, user, other := s.drop(t, fields{"total_stock": 1000}), s.user(t, "ada"), s.user(t, "bob")
			sub := strconv.FormatInt(user, 10)
			tokens := tokensFor(t, sub, strconv.FormatInt(other, 10))
			hold := s.holdAs(t, drop, user, tokens["user"])
			bought := s.holdAs(t, drop, user, tokens["user"])
			s.post(t, "/api/drops/purchase", fields{"reservationId": bought}, as(tokens["user"])...).want(t, 201)
			fill := strings.NewReplacer("{drop}", strconv.FormatInt(drop, 10), "{user}", sub,
				"{hold}", strconv.FormatInt(hold, 10), "{bought}", strconv.FormatInt(bought, 10))
			for route, a := range accesses {
				method, path, _ := strings.Cut(route, " ")
				if a.path != "" {
					path = a.path
				}
				want := a.open
				if mode == "jwt" {
					want = a.jwt
				}
				for i, caller := range callers {
					request, err := http.NewRequestWithContext(t.Context(), method, s.url+fill.Replace(path), strings.NewReader(fill.Replace(a.body)))
					must(t, err)
					if a.body != "" {
						request.Header.Set("Content-Type", "application/json")
					}
					if token := tokens[caller]; token != "" {
						request.Header.Set("Authorization", "Bearer "+token)
					}
					r := s.send(t, request)
					if r.status != want[i] {
						t.Errorf("%s by %s: status %d, want %d: %.200s", route, caller, r.status, want[i], r.raw)
					}
					if says := r.header.Get("WWW-Authenticate"); (r.status == 401) != strings.HasPrefix(says, "Bearer") && r.status != 403 {
						t.Errorf("%s by %s: status %d with WWW-Authenticate %q", route, caller, r.status, says)
					}
				}
			}
		})
	}
}

// tokensFor are the callers' tokens; nobody has none.
func tokensFor(t *testing.T, user, other string) map[string]string {
	t.Helper()
	changed := func(name string, value any) jwt.MapClaims {
		c := claimsOf(user)
		c[name] = value
		return c
	}
	hs256, secret := jwt.SigningMethodHS256, []byte(tokenSecret)
	return map[string]string{
		"user": tokenOf(t, user), "other": tokenOf(t, other), "admin": harness.AdminToken,
		"expired":         signed(t, hs256, secret, changed("exp", time.Now().Add(-time.Minute).Unix())),
		"wrong signature": signed(t, hs256, []byte("another-secret-of-32-bytes-------"), claimsOf(user)),
		"alg none":        signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claimsOf(user)),
		"wrong audience":  signed(t, hs256, secret, changed("aud", "another-service")),
	}
}

// holdAs is hold by whoever brings the token.
func (s *server) holdAs(t *testing.T, drop, user int64, token string) int64 {
	t.Helper()
	return s.post(t, "/api/drops/reserve", fields{"dropId": drop, "userId": user}, as(token)...).want(t, 201).int(t, "id")
}

// TestAdminTokenHasToBeWhole sends what is nearly the admin token.
func TestAdminTokenHasToBeWhole(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const token = harness.AdminToken
	for name, header := range map[string][]string{
		"its beginning":        {"Bearer " + token[:len(token)-1]},
		"one character":        {"Bearer " + token[:1]},
		"one more":             {"Bearer " + token + "x"},
		"another at the end":   {"Bearer " + token[:len(token)-1] + "x"},
		"another at the start": {"Bearer x" + token[1:]},
		"another case":         {"Bearer " + strings.ToUpper(token)},
		"none":                 {"Bearer "},
		"no space":             {"Bearer" + token},
		"two spaces":           {"Bearer  " + token},
		"something behind":     {"Bearer " + token + " x"},
		"another scheme":       {"Basic " + token},
		"no scheme":            {token},
		"two headers":          {"Bearer " + token, "Bearer " + token},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/metrics", http.NoBody)
		must(t, err)
		request.Header["Authorization"] = header
		if r := s.send(t, request); r.status != 401 {
			t.Errorf("%s: status %d", name, r.status)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/metrics?access_token="+token, http.NoBody)
	must(t, err)
	if r := s.send(t, request); r.status != 401 {
		t.Errorf("in the address: status %d", r.status)
	}
	s.do(t, http.MethodGet, "/metrics", "", http.Header{"Authorization": {"bearer " + token}}).want(t, 200)
}

// TestBackDoor: with a listener of their own, operators are served there alone.
func TestBackDoor(t *testing.T) {
	t.Parallel()
	s := newServer(t, withTokens(t), func(w *wiring) {
		before := w.api
		w.api = func(c *api.Config) { before(c); c.Back = true }
	})
	back := *s.client
	back.url = "http://" + s.serveBack(t)
	drop := back.post(t, "/api/drops/create", newDrop()).want(t, 201).int(t, "id")
	for _, path := range []string{
		"/api/admin/figures?drop=1", "/api/drops/1/holds", "/metrics", "/debug/pprof/heap", "/console",
	} {
		s.get(t, path).refused(t, 404, "not_found", "Route not found")
		path = strings.ReplaceAll(path, "1", strconv.FormatInt(drop, 10))
		back.get(t, path).want(t, 200)
	}
	s.post(t, "/api/drops/create", newDrop()).refused(t, 404, "not_found", "Route not found")
	s.post(t, "/api/users", fields{"username": "ada"}).refused(t, 404, "not_found", "Route not found")
	user := back.post(t, "/api/users", fields{"username": "ada"}).want(t, 201).int(t, "id")
	s.get(t, "/").want(t, 200)
	s.get(t, "/readyz").want(t, 200).has(t, fields{"identity": "jwt"})
	s.holdAs(t, drop, user, tokenOf(t, strconv.FormatInt(user, 10)))
}

func TestOpenCreate(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) { w.api = func(c *api.Config) { c.OpenCreate = true } })
	s.post(t, "/api/drops/create", newDrop(), "Authorization", "").want(t, 201)
	s.do(t, http.MethodGet, "/metrics", "", http.Header{"Authorization": {}}).refused(t, 401, "unauthenticated", "A Bearer token is required")
}

func TestAdminTokenThatIsNone(t *testing.T) {
	t.Parallel()
	for token, problem := range map[string]string{
		"": "fewer than 32", strings.Repeat("a", 31): "fewer than 32", strings.Repeat("a", 31) + " ": "letters",
		strings.Repeat("=", 40): "letters", strings.Repeat("ä", 32): "letters",
	} {
		if err := api.CheckAdminToken(token); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%q: %v, want %q", token, err, problem)
		}
	}
	must(t, api.CheckAdminToken(strings.Repeat("a", 32)))
}
