package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/fair"
	"github.com/holdfast/holdfast/api/live"
	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// listenFlags say how an instance is reached.
type listenFlags struct {
	Port                 int      `env:"HOLDFAST_PORT,PORT" default:"3000" help:"Port of the API."`
	CORSOrigins          []string `name:"cors-origins" env:"HOLDFAST_CORS_ORIGINS" placeholder:"ORIGIN" help:"Origins that may call the API from browsers, or * for all."`
	MaxConns             int      `env:"HOLDFAST_MAX_CONNS" default:"16384" help:"Connections served at once."`
	MaxSockets           int      `env:"HOLDFAST_MAX_SOCKETS" default:"10000" help:"Live connections (WebSocket, Socket.IO) served at once."`
	MaxSocketsPerAddress int      `env:"HOLDFAST_MAX_SOCKETS_PER_ADDRESS" default:"1000" help:"Live connections of one address. Behind a proxy that is not trusted that is the proxy's."`
	Buyers               int      `env:"HOLDFAST_BUYERS" default:"3" help:"How many of the newest buyers a drop shows."`
}

func (f listenFlags) validate() error {
	var errs []error
	if f.Port < 1 || f.Port > 65535 {
		errs = append(errs, fmt.Errorf("HOLDFAST_PORT (--port): %d is not in 1 … 65535", f.Port))
	}
	if f.MaxConns < 1 {
		errs = append(errs, fmt.Errorf("HOLDFAST_MAX_CONNS (--max-conns): %d is not positive", f.MaxConns))
	}
	if f.MaxSockets < 1 {
		errs = append(errs, fmt.Errorf("HOLDFAST_MAX_SOCKETS (--max-sockets): %d is not positive", f.MaxSockets))
	}
	if f.MaxSocketsPerAddress < 1 {
		errs = append(errs, fmt.Errorf("HOLDFAST_MAX_SOCKETS_PER_ADDRESS (--max-sockets-per-address): %d is not positive", f.MaxSocketsPerAddress))
	}
	if f.Buyers < 1 || f.Buyers > 100 {
		errs = append(errs, fmt.Errorf("HOLDFAST_BUYERS (--buyers): %d is not in 1 … 100", f.Buyers))
	}
	return errors.Join(errs...)
}

type serveCommand struct {
	storeFlags
	listenFlags
	identityFlags
	stopFlags
	webhookFlags
	seeFlags
	fairFlags
	Host     string        `env:"HOLDFAST_HOST" default:"0.0.0.0" help:"Address of the API."`
	Roles    []string      `env:"HOLDFAST_ROLES" default:"api,expirer,writer" help:"What this instance does: api (serves), expirer (gives lapsed holds back), writer (brings purchases to Postgres). Each role needs one instance at least; any number may have it."`
	Takeover time.Duration `env:"HOLDFAST_TAKEOVER" default:"30s" help:"After how long another writer takes over what a writer has begun and not finished."`
	Migrate  bool          `env:"HOLDFAST_MIGRATE" help:"Migrate the database first."`
}

// Help is shown by --help.
func (*serveCommand) Help() string {
	return `Any number of instances run side by side on the same Redis and Postgres. Redis has to keep what it acknowledged: appendonly yes, appendfsync always, maxmemory-policy noeviction, notify-keyspace-events Ex; what differs is named in the log at start.

SIGTERM stops in order: not ready any more, no new connections, live connections told to go, the requests under way answered, what was sold written to Postgres. A second signal ends at once.`
}

var allRoles = []string{"api", "expirer", "writer"}

// Run serves until a signal.
func (c *serveCommand) Run(ctx context.Context, log *slog.Logger) error {
	errs := []error{
		c.storeFlags.validate(), c.listenFlags.validate(), c.identityFlags.validate(), c.stopFlags.validate(),
		c.webhookFlags.validate(), c.seeFlags.validate(), c.fairFlags.validate(),
	}
	if c.Takeover < time.Second {
		errs = append(errs, fmt.Errorf("HOLDFAST_TAKEOVER (--takeover): %v is less than 1s", c.Takeover))
	}
	if len(c.Roles) == 0 {
		errs = append(errs, errors.New("HOLDFAST_ROLES (--roles): no role given"))
	}
	for _, r := range c.Roles {
		if !slices.Contains(allRoles, r) {
			errs = append(errs, fmt.Errorf("HOLDFAST_ROLES (--roles): %q is none of api, expirer, writer", r))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("the configuration has errors:\n%w", err)
	}
	if c.Migrate {
		if err := persist.Migrate(ctx, c.DatabaseURL); err != nil {
			return err
		}
	}
	traces, err := newTraces(ctx, c.seeFlags, log)
	if err != nil {
		return err
	}
	fairUse := c.use(true)
	s, err := c.openTraced(ctx, log, traces, c.webhookFlags, fairUse.limitPeople)
	if err != nil {
		return err
	}
	defer s.close()
	in := &instance{
		stores: s, listen: c.listenFlags, identity: c.identityFlags,
		webhooks: c.webhookFlags, see: c.seeFlags, fair: fairUse,
		host: c.Host, roles: c.Roles, takeover: c.Takeover, stopping: c.stopFlags,
	}
	if err := in.start(ctx); err != nil {
		return err
	}
	log.Info("serving", "address", in.address(), "roles", c.Roles, "identity", c.Identity, "fair_use", fairUse.String(), "version", version)
	return in.wait(ctx, nil)
}

// instance is one running Holdfast: the roles it has, over its stores.
type instance struct {
	stores   *stores
	listen   listenFlags
	identity identityFlags
	openShop bool // everybody may create drops
	see      seeFlags
	host     string
	roles    []string
	takeover time.Duration // zero: the writer's own default
	stopping stopFlags
	flushing func(left int64) // is told, at the end, what is not in Postgres yet; nil: the log
	webhooks webhookFlags
	fair     fairUse

	ledgerClient   redis.UniversalClient
	writer         *persist.Writer
	stopBackground context.CancelFunc
	background     sync.WaitGroup
	challenge      *fair.Challenge
	api            *api.API
	listener       net.Listener // made at start, unless it is there
	back           net.Listener // of operators; nil where they have none of their own
	failed         chan error
}

// start starts the roles. The API comes last: who can reach it can buy.
func (in *instance) start(ctx context.Context) (err error) {
	s := in.stores
	in.failed = make(chan error, 2)
	defer func() {
		if err != nil {
			err = errors.Join(err, in.stop())
		}
	}()
	if err := in.check(ctx); err != nil {
		return err
	}
	if slices.Contains(in.roles, "writer") {
		if err := in.startWriter(); err != nil {
			return err
		}
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	in.stopBackground = cancel
	// Whatever its roles: it looks for what this instance has acknowledged.
	in.background.Go(func() { s.recon.Run(background) })
	if in.writer != nil {
		sender, err := in.webhooks.sender(s.store, s.log, s.metrics)
		if err != nil {
			return err
		}
		if sender != nil {
			in.background.Go(func() { sender.Run(background) })
		}
	}
	if slices.Contains(in.roles, "expirer") {
		expirer := s.engine.NewExpirer(engine.ExpirerConfig{})
		in.background.Go(func() { expirer.Run(background) })
	}
	if err := in.startSeeing(background); err != nil {
		return err
	}
	return in.startAPI(ctx, background)
}

// settleTimeout is how long a start waits until Redis has been compared with
// Postgres: a rebuild under way elsewhere takes seconds.
const settleTimeout = 30 * time.Second

// check names what would break a promise, and compares Redis with Postgres
// where that has to be.
func (in *instance) check(ctx context.Context) error {
	problems, err := in.stores.engine.CheckSettings(ctx)
	if err != nil {
		return err
	}
	for _, p := range problems {
		in.stores.log.Warn("a setting of Redis breaks a promise", "setting", p)
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	err = in.stores.recon.Settle(ctx)
	if errors.Is(err, persist.ErrUnavailable) || errors.Is(err, engine.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		// Partitions that are served are sold from without Postgres; the ledger waits.
		in.stores.log.Warn("Redis could not be compared with Postgres; partitions that are fenced wait for it", "err", err)
		return nil
	}
	return err
}

func (in *instance) startWriter() (err error) {
	s := in.stores
	config := s.flags.redisConfig()
	config.PoolSize = 2*s.flags.Partitions + 4
	in.ledgerClient, err = engine.NewClient(config)
	if err != nil {
		return err
	}
	subscriptions, err := in.webhooks.subscriptions()
	if err != nil {
		return err
	}
	in.writer, err = persist.NewWriter(persist.WriterConfig{
		Webhooks: subscriptions,
		Ledger:   s.engine.Ledger(in.ledgerClient, consumerName(in.listen.Port)),
		Store:    s.store, ClaimIdle: in.takeover, Log: s.log, Metrics: s.metrics, Tracer: s.traces.tracer(),
	})
	if err != nil {
		return err
	}
	in.writer.Start()
	return nil
}

// startAPI serves the contract; an instance without the role api has health
// and metrics alone. What runs beside it ends with background.
func (in *instance) startAPI(ctx, background context.Context) (err error) {
	s := in.stores
	verifier, err := in.identity.verifier(ctx, s.log)
	if err != nil {
		return err
	}
	if in.challenge, err = in.fair.flags.challenge(s.log, s.metrics); err != nil {
		return err
	}
	subscriptions, err := in.webhooks.subscriptions()
	if err != nil {
		return err
	}
	in.api, err = api.New(api.Config{
		Engine: s.engine, Store: s.store, Users: s.users,
		Admin: in.identity.AdminToken, Identity: verifier, OpenCreate: in.openShop, Back: in.identity.AdminAddr != "",
		CORSOrigins: in.listen.CORSOrigins, Buyers: in.listen.Buyers, MaxConns: in.listen.MaxConns,
		Live: live.Config{MaxSockets: in.listen.MaxSockets, MaxSocketsPerAddress: in.listen.MaxSocketsPerAddress},
		Fair: in.fair.guard(s.metrics), Proxies: in.fair.proxies(), Challenge: in.challenge, Webhooks: subscriptions,
		Roles: in.roles, Version: version, Log: s.log, Metrics: s.metrics, Tracer: s.traces.tracer(),
	})
	if err != nil {
		return err
	}
	if in.listener == nil {
		if in.listener, err = listen(ctx, in.host, in.listen.Port); err != nil {
			return err
		}
	}
	if in.back, err = in.identity.listenBack(ctx); err != nil {
		return err
	}
	if verifier != nil {
		in.background.Go(func() { verifier.Run(background) })
	}
	in.serve(in.api.Serve, in.listener)
	if in.back != nil {
		in.serve(in.api.ServeBack, in.back)
		s.log.Info("operators are served apart", "address", in.back.Addr())
	}
	return nil
}

func (in *instance) serve(by func(net.Listener) error, on net.Listener) {
	in.background.Go(func() {
		if err := by(on); err != nil {
			in.failed <- err
		}
	})
}

func listen(ctx context.Context, host string, port int) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("%w: choose another port with --port", err)
	}
	return l, nil
}

func (in *instance) address() string {
	host := in.host
	if host == "0.0.0.0" || host == "::" || host == "" {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(in.listen.Port))
}
