// Package api serves the engine over HTTP: the REST contract of openapi.yaml,
// health, metrics and the description itself.
package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/cors"
	recoverer "github.com/gofiber/fiber/v2/middleware/recover"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast/holdfast/api/fair"
	"github.com/holdfast/holdfast/api/identity"
	"github.com/holdfast/holdfast/api/live"
	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// Config is what an API is made of.
type Config struct {
	// Engine sells. Required.
	Engine *engine.Engine
	// Store is the catalogue and the history. Required.
	Store *persist.Store
	// Users are the people. Required.
	Users *persist.Users
	// Admin is the token that calls of operators need, as CheckAdminToken wants
	// it. Required.
	Admin string
	// Identity tells buyers by their tokens. Defaults to none: identity is open,
	// and the body of a request is believed.
	Identity *identity.Verifier
	// OpenCreate lets everybody create drops. Defaults to the admin alone.
	OpenCreate bool
	// Back has the calls of operators, their console, metrics and profiles
	// answered by ServeBack alone. Defaults to by Serve.
	Back bool
	// CORSOrigins may call from browsers on other hosts: scheme://host[:port]
	// each, where *. before a host stands for the hosts below it, or "*" alone
	// for all. Defaults to none.
	CORSOrigins []string
	// Buyers is how many of the newest buyers a drop shows. Defaults to 3.
	Buyers int
	// MaxConns is how many connections are served at once. Defaults to 16,384.
	MaxConns int
	// Live has the limits and the pace of the live feed; what it is made of is
	// set by the API. Defaults to live.Config's own.
	Live live.Config
	// Fair has the limits of one caller. Defaults to none: fair use is off.
	Fair *fair.Guard
	// Proxies are believed about whom they call for. Defaults to none.
	Proxies fair.Proxies
	// Webhooks hear of drops that are sold out since an operator took units away: the
	// same as the writer's. Defaults to none.
	Webhooks []persist.Subscription
	// Challenge verifies the tokens that some drops demand. Defaults to none:
	// there can be no such drops.
	Challenge *fair.Challenge
	// Timeout bounds reading a request, answering it and writing the answer,
	// each. Defaults to 10 s.
	Timeout time.Duration
	// Roles of the instance, shown by /readyz. One without the role api serves
	// health, metrics and the description alone. Defaults to api alone.
	Roles []string
	// Version is shown by /readyz. Defaults to "dev".
	Version string
	// Log gets internal errors. Defaults to slog.Default().
	Log *slog.Logger
	// Metrics are served at /metrics, and get those of the API. Defaults to a
	// registry of its own.
	Metrics *prometheus.Registry
	// Tracer traces requests. Defaults to none.
	Tracer trace.Tracer
}

// maxBody is the greatest request body in bytes.
const maxBody = 16 << 10

// API is the HTTP server.
type API struct {
	cfg       Config
	app       *fiber.App
	engine    *engine.Engine
	users     *persist.Users
	catalogue *catalogue
	steering  *persist.Steering
	reports   *reports
	shelf     *shelf    // nil without the role api
	hub       *live.Hub // likewise
	metrics   *metrics
	log       *slog.Logger

	// deadlines bound what one request may wait for: fiber has no context that
	// ends with the client's connection.
	deadlines deadlines

	adminSum   [sha256.Size]byte // of the admin token
	requestIDs *requestIDs
	pauses     pauses // of refusals, with fair use
	ready      readinessMemory
	settings   settingsMemory // of Redis, for readyz

	door    atomic.Pointer[door] // nil until Serve
	back    atomic.Pointer[door] // nil until ServeBack
	unready atomic.Bool          // readyz sends balancers elsewhere
	leaving atomic.Bool
}

// New makes an API that does not listen yet.
func New(cfg Config) (*API, error) {
	if cfg.Engine == nil || cfg.Store == nil || cfg.Users == nil {
		return nil, errors.New("api: Engine, Store and Users are required")
	}
	if err := CheckAdminToken(cfg.Admin); err != nil {
		return nil, fmt.Errorf("api: Admin: %w", err)
	}
	if cfg.Buyers == 0 {
		cfg.Buyers = 3
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 16_384
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if len(cfg.Roles) == 0 {
		cfg.Roles = []string{"api"}
	}
	if cfg.Version == "" {
		cfg.Version = "dev"
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}
	if err := CheckOrigins(cfg.CORSOrigins); err != nil {
		return nil, err
	}
	a := &API{
		cfg: cfg, engine: cfg.Engine, users: cfg.Users, log: cfg.Log,
		catalogue: newCatalogue(cfg.Store, cfg.Buyers), metrics: newMetrics(cfg.Metrics),
		deadlines: deadlines{timeout: cfg.Timeout}, requestIDs: newRequestIDs(), pauses: newPauses(maxPauses, refusalPause),
		adminSum: sha256.Sum256([]byte(cfg.Admin)),
	}
	if err := a.newSteering(); err != nil {
		return nil, err
	}
	if slices.Contains(cfg.Roles, "api") {
		var err error
		a.shelf = newShelf(a.catalogue, cfg.Engine, cfg.Timeout, cfg.Metrics)
		feed := cfg.Live
		feed.Engine, feed.Store, feed.Buyers, feed.Log, feed.Metrics = cfg.Engine, cfg.Store, cfg.Buyers, cfg.Log, cfg.Metrics
		feed.Render = func(d persist.Drop, s *engine.Stock) any { return renderDrop(d, s) }
		feed.Heard = a.shelf.hear
		feed.Address = a.clientName
		a.hub, err = live.New(feed)
		if err != nil {
			return nil, err
		}
	}
	if err := cfg.Metrics.Register(newReadinessCollector(a)); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	a.app = fiber.New(fiber.Config{
		AppName:               "Holdfast",
		BodyLimit:             maxBody,
		Concurrency:           cfg.MaxConns,
		ReadBufferSize:        8 << 10, // also the limit of a request's headers
		WriteBufferSize:       8 << 10, // what fits, as 20 drops do, is one write
		ReadTimeout:           cfg.Timeout,
		WriteTimeout:          cfg.Timeout,
		IdleTimeout:           2 * time.Minute,
		ErrorHandler:          a.fail,
		DisableStartupMessage: true,
		StrictRouting:         false,
		// Else a bad form is refused before its Content-Type is.
		DisablePreParseMultipartForm: true,
	})
	server := a.app.Server()
	server.Handler = knownMethods(server.Handler)
	if err := a.routes(); err != nil {
		return nil, err
	}
	a.app.Handler() // has fiber build its table of routes, once for both doors
	return a, nil
}

// knownMethods has next see TRACE, which no route takes, in place of the
// methods that fiber does not know: it would answer those itself, in plain text.
func knownMethods(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(c *fasthttp.RequestCtx) {
		switch {
		case c.IsGet(), c.IsPost(): // nearly all
		case !slices.Contains(fiber.DefaultMethods, string(c.Method())):
			c.Request.Header.SetMethod(fiber.MethodTrace)
		}
		next(c)
	}
}

// oneLength refuses a request that tells its body's length in two ways. A proxy
// that goes by the other one would take the rest for the next caller's request,
// so nothing more is read from that connection.
func oneLength(c *fiber.Ctx) error {
	var length, encoding bool
	for line := range bytes.Lines(c.Request().Header.RawHeaders()) {
		if first := line[0] | 0x20; first != 'c' && first != 't' && first > ' ' {
			continue // neither
		}
		name, _, _ := bytes.Cut(line, []byte(":"))
		name = bytes.TrimSpace(name)
		length = length || bytes.EqualFold(name, []byte(fiber.HeaderContentLength))
		encoding = encoding || bytes.EqualFold(name, []byte(fiber.HeaderTransferEncoding))
	}
	if length && encoding {
		c.Context().SetConnectionClose()
		return &complaint{fiber.HeaderTransferEncoding, "must not be given together with Content-Length"}
	}
	return c.Next()
}

// onlyPost answers another method on a path that takes POST alone.
func onlyPost(c *fiber.Ctx) error {
	c.Set(fiber.HeaderAllow, fiber.MethodPost)
	return fiber.ErrMethodNotAllowed
}

func (a *API) routes() error {
	a.app.Use(a.lastAnswer)
	if a.cfg.Fair != nil {
		a.app.Use(a.unhurried)
	}
	a.app.Use(a.named)
	if a.cfg.Tracer != nil {
		a.app.Use(a.traced)
	}
	a.app.Use(a.metrics.measure(a.fail))
	a.app.Use(recoverer.New(recoverer.Config{EnableStackTrace: true, StackTraceHandler: a.logPanic}))
	a.app.Use(oneLength)
	if len(a.cfg.CORSOrigins) > 0 {
		a.app.Use(cors.New(cors.Config{
			AllowOrigins:  strings.Join(a.cfg.CORSOrigins, ","),
			AllowHeaders:  "Authorization,Content-Type,Idempotency-Key,X-Request-Id",
			ExposeHeaders: "Idempotency-Replayed,RateLimit,RateLimit-Policy,Retry-After,X-Request-Id",
		}))
	}
	if a.hub != nil {
		a.browse()
		if a.cfg.Identity == nil {
			a.sell()
			a.enrol()
		} else {
			a.behind(a.buyer, a.sell)
			a.behind(a.admin, a.enrol)
		}
		if a.cfg.OpenCreate {
			a.create()
		} else {
			a.behind(a.admin, a.create)
		}
		a.behind(a.admin, a.administer)
		a.watch()
		if err := a.pages(); err != nil {
			return err
		}
	}
	a.app.Get("/healthz", a.healthz)
	a.app.Get("/readyz", a.readyz)
	a.behind(a.admin, func() {
		a.app.Get("/metrics", a.metrics.serve())
		a.app.Get("/debug/pprof/:name?", a.profile)
	})
	return a.describe()
}

// browse adds what everybody may look at.
func (a *API) browse() {
	for _, path := range []string{"create", "reserve", "purchase", "cancel"} {
		a.app.Get("/api/drops/"+path, onlyPost) // else taken for a drop's id
		a.app.Patch("/api/drops/"+path, onlyPost)
	}
	a.app.Get("/api/drops", a.fairly(fair.Read, a.listDrops)...)
	a.app.Get("/api/drops/:id", a.fairly(fair.Read, a.getDrop)...)
}

// sell adds the calls of buyers.
func (a *API) sell() {
	// In the order in which fiber looks for them: what a sale asks first.
	a.app.Post("/api/drops/reserve", a.fairly(fair.Reserve, a.reserve)...)
	a.app.Post("/api/drops/purchase", a.fairly(fair.Purchase, a.purchase)...)
	a.app.Post("/api/drops/cancel", a.fairly(fair.Cancel, a.cancel)...)
	a.app.Get("/api/reservations/:id", a.fairly(fair.Read, a.getReservation)...)
	a.app.Get("/api/users/:id", a.fairly(fair.Read, a.getUser)...)
}

// enrol adds the call that makes a user.
func (a *API) enrol() { a.app.Post("/api/users", a.fairly(fair.Reserve, a.createUser)...) }

// create adds the call that opens a drop.
func (a *API) create() { a.app.Post("/api/drops/create", a.createDrop) }

// administer adds the calls of those who look after drops.
func (a *API) administer() {
	a.app.Get("/api/drops/:id/holds", a.listHolds)
	a.app.Get("/api/admin/figures", a.figures)
	a.app.Get("/api/admin/webhooks/dead", a.listDeadDeliveries)
	a.app.Post("/api/admin/webhooks/:id/resend", a.resendDelivery)
	a.steer()
}

// watch adds the live feed.
func (a *API) watch() {
	a.app.Get("/ws", append(a.fairly(fair.Socket, a.sameOrigin), a.hub.Admission, a.hub.Upgrade())...)
	a.app.All("/socket.io/", a.fairlyBegun(a.sameOrigin, a.hub.SocketIO())...)
}

// sameOrigin refuses pages of other hosts that are not among the origins
// configured: browsers let any page open a WebSocket.
func (a *API) sameOrigin(c *fiber.Ctx) error {
	if !live.Allowed(c.Get(fiber.HeaderOrigin), string(c.Request().Host()), a.cfg.CORSOrigins) {
		return errForbiddenOrigin
	}
	return c.Next()
}

// Serve answers requests on l until Shutdown.
func (a *API) Serve(l net.Listener) error {
	if a.hub != nil {
		a.hub.Start()
	}
	d := newDoor(l)
	a.door.Store(d)
	if err := a.app.Listener(lingeringListener{Listener: d, admit: a.admit}); err != nil {
		return fmt.Errorf("api: %w", err)
	}
	return nil
}

// Unready has /readyz answer 503 from now on; all else is served as before.
func (a *API) Unready() { a.unready.Store(true) }

// Shutdown stops taking connections, closes those of the live feed, which may
// then come to another instance, and waits for the requests under way.
func (a *API) Shutdown(ctx context.Context) error {
	a.Unready()
	a.closeDoors(ctx)
	var hubErr error
	var closing sync.WaitGroup
	if a.hub != nil {
		closing.Go(func() { hubErr = a.hub.Stop(ctx) })
	}
	a.lastWords(ctx)
	err := a.app.ShutdownWithContext(ctx)
	closing.Wait()
	if err = errors.Join(err, hubErr); err != nil {
		return fmt.Errorf("api: shutdown: %w", err)
	}
	return nil
}

// CheckOrigins returns an error that says what is wrong with the first of
// origins that Config.CORSOrigins may not have. New checks the same.
func CheckOrigins(origins []string) error {
	for _, origin := range origins {
		switch {
		case origin == "*" && len(origins) > 1:
			return errors.New("api: CORS origin *: must be the only one")
		case origin != "*" && !isOrigin(origin):
			return fmt.Errorf("api: CORS origin %q: must be * or scheme://host[:port]", origin)
		}
	}
	return nil
}

// isOrigin says whether s is an origin as browsers send it, or one with *. for
// all hosts of a domain. The middleware would panic on others.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || s != u.Scheme+"://"+u.Host {
		return false
	}
	host := strings.TrimPrefix(u.Host, "*.")
	return host != "" && !strings.ContainsAny(host, "*,")
}

// jsonBody is the request's body, good until the handler returns.
func jsonBody(c *fiber.Ctx) ([]byte, error) {
	header := c.Get(fiber.HeaderContentType)
	if header != fiber.MIMEApplicationJSON {
		kind, _, err := mime.ParseMediaType(header)
		if err != nil || kind != fiber.MIMEApplicationJSON {
			return nil, errContentType
		}
	}
	if len(c.Request().Header.ContentEncoding()) > 0 {
		return nil, errContentEncoding // unpacked it could be of any size
	}
	return c.Request().Body(), nil
}
