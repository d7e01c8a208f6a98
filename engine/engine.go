package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast/holdfast/lua"
)

// Config is what an Engine is made of.
type Config struct {
	// Redis is the client that runs the scripts. It must not retry by itself
	// (MaxRetries -1): a script whose reply was lost would take stock twice.
	// NewClient makes a fit one. Required; it stays the caller's to close.
	Redis redis.UniversalClient
	// Prefix begins every key, so that deployments can share a Redis.
	// Defaults to "hf".
	Prefix string
	// Partitions is how many partitions the drops are spread over. Fixed when
	// a deployment is first started. Defaults to 16.
	Partitions int
	// CallTimeout bounds each call to Redis. Defaults to 2 s.
	CallTimeout time.Duration
	// MaxBatch is how many requests for one drop go in one script call, at
	// most 64. Defaults to 64.
	MaxBatch int
	// MaxQueue is how many requests may wait for one drop; further ones get
	// ErrOverloaded. Defaults to 4096.
	MaxQueue int
	// InFlight is how many calls for one drop may be under way at once.
	// Defaults to 2.
	InFlight int
	// NewsMaxAge is for how long Redis's word that a drop is sold out, paused, has
	// ended or has not started may be passed on to others without asking again.
	// Negative: each asks. Defaults to 100 ms.
	NewsMaxAge time.Duration
	// MaxLedger is how many entries of a partition's ledger may wait for the
	// history; at that many no more holds begin (ErrOverloaded). Purchases, cancels and releases
	// go on. Defaults to 100,000.
	MaxLedger int64
	// MaxMemoryPercent is how much of Redis's maxmemory may be used before no
	// more holds begin (ErrOverloaded). Defaults to 90.
	MaxMemoryPercent int
	// MaxHoldsPerUser is how many units one person may hold at once, over all
	// drops (ErrTooManyHolds), MaxPerPerson at most. Defaults to any number.
	MaxHoldsPerUser int64
	// CooldownLapses is how many holds a person may let lapse within Cooldown
	// before they get no more (ErrCoolingDown), MaxPerPerson at most. Defaults to any number.
	CooldownLapses int64
	// Cooldown is for how long a lapse counts. Defaults to 10 min.
	Cooldown time.Duration
	// Standalone says that there is no history to compare Redis with: the
	// engine admits every partition as it finds it, and what Redis lost is
	// lost. Defaults to false: partitions stay fenced until somebody who has
	// the history (persist.Reconciler) admits them.
	Standalone bool
	// Log gets what an operator should know. Defaults to slog.Default().
	Log *slog.Logger
	// Metrics registers the engine's metrics. Defaults to none.
	Metrics prometheus.Registerer
	// Tracer traces the calls that are made for traced requests. Defaults to none.
	Tracer trace.Tracer
}

// MaxPerPerson is the greatest MaxHoldsPerUser and CooldownLapses.
const MaxPerPerson = lua.MostAllowed

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = "hf"
	}
	if c.Partitions == 0 {
		c.Partitions = 16
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = 2 * time.Second
	}
	if c.MaxBatch <= 0 || c.MaxBatch > maxBatch {
		c.MaxBatch = maxBatch
	}
	if c.MaxQueue == 0 {
		c.MaxQueue = 4096
	}
	if c.InFlight == 0 {
		c.InFlight = 2
	}
	if c.NewsMaxAge == 0 {
		c.NewsMaxAge = 100 * time.Millisecond
	}
	if c.MaxLedger == 0 {
		c.MaxLedger = 100_000
	}
	if c.MaxMemoryPercent == 0 {
		c.MaxMemoryPercent = 90
	}
	if c.Cooldown == 0 {
		c.Cooldown = 10 * time.Minute
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// maxBatch is the most items of one script call: more gave no more throughput
// and a long tail (200 items: p99 122 ms), since a script runs alone.
const maxBatch = 64

// Engine sells drops. Its methods are safe for concurrent use.
type Engine struct {
	cfg     Config
	redis   redis.UniversalClient
	keys    keys
	log     *slog.Logger
	metrics *metrics

	epochs    epochs
	acks      acks
	memory    memoryWatch
	refusals  refusals
	outlook   outlook
	people    *people // nil: no limits over all drops
	reserves  *combiner[ReserveRequest, Reservation]
	purchases *combiner[ending, Reservation]
	cancels   *combiner[ending, Reservation]
}

// New makes an Engine; Start must be called before use.
func New(cfg Config) (*Engine, error) {
	if cfg.Redis == nil {
		return nil, fmt.Errorf("%w: engine needs a Redis client", ErrInvalid)
	}
	cfg = cfg.withDefaults()
	if cfg.Partitions < 1 || cfg.Partitions > 1024 {
		return nil, fmt.Errorf("%w: %d partitions, want 1 … 1024", ErrInvalid, cfg.Partitions)
	}
	if cfg.MaxHoldsPerUser > MaxPerPerson || cfg.CooldownLapses > MaxPerPerson {
		return nil, fmt.Errorf("%w: limits of %d holds and %d lapses, want %d at most",
			ErrInvalid, cfg.MaxHoldsPerUser, cfg.CooldownLapses, MaxPerPerson)
	}
	if retries(cfg.Redis) > 0 {
		return nil, fmt.Errorf("%w: the engine's Redis client must have MaxRetries -1", ErrInvalid)
	}
	e := &Engine{
		cfg:     cfg,
		redis:   cfg.Redis,
		keys:    newKeys(cfg.Prefix, cfg.Partitions),
		log:     cfg.Log,
		metrics: newMetrics(cfg.Metrics),
		epochs:  newEpochs(cfg.Partitions),
		acks:    newAcks(cfg.Partitions),
		outlook: newOutlook(cfg.NewsMaxAge),

		refusals: newRefusals(), people: newPeople(cfg),
	}
	limits := combinerLimits{
		batch: cfg.MaxBatch, queue: cfg.MaxQueue, inFlight: cfg.InFlight, timeout: cfg.CallTimeout,
		tracer: cfg.Tracer,
	}
	named := func(name string) combinerLimits {
		limits.name = name
		return limits
	}
	e.reserves = newCombiner(named("reserve"), e.reserveBatch)
	e.purchases = newCombiner(named("purchase"), e.purchaseBatch)
	e.cancels = newCombiner(named("cancel"), e.cancelBatch)
	return e, nil
}

// Start checks that Redis answers and belongs to a deployment with as many
// partitions, records the number in a new one, and learns the epochs.
func (e *Engine) Start(ctx context.Context) error {
	if err := e.bringKeys(ctx); err != nil {
		return err
	}
	if err := e.checkPartitions(ctx); err != nil {
		return err
	}
	// A partition whose master does not answer just now counts as fenced, and
	// does not keep the others from being served.
	var asking sync.WaitGroup
	for p := range e.keys.partitions {
		asking.Go(func() {
			if _, err := e.Refresh(ctx, p); err != nil {
				e.log.Warn("a partition's epoch is not known yet", "partition", p, "err", err)
			}
			e.epochs.changed[p].Store(false) // nothing was acknowledged before
		})
	}
	asking.Wait()
	e.memory.start(e)
	return nil
}

func (e *Engine) checkPartitions(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	key := e.keys.count()
	have, err := e.redis.Get(ctx, key).Result()
	if errors.Is(err, redis.Nil) { // written only if new: a full Redis must not keep a start away
		if err := e.redis.SetNX(ctx, key, e.keys.partitions, 0).Err(); err != nil {
			return unavailable(err)
		}
		have, err = e.redis.Get(ctx, key).Result()
	}
	if err != nil {
		return unavailable(err)
	}
	if have != strconv.Itoa(e.keys.partitions) {
		return fmt.Errorf("%w: this Redis was started with %s partitions, not %d; the number is fixed for a deployment's life",
			ErrInvalid, have, e.keys.partitions)
	}
	return nil
}

// Stop waits for the calls under way. Calls that come later get ErrOverloaded.
func (e *Engine) Stop() {
	e.memory.stop()
	e.reserves.stop()
	e.purchases.stop()
	e.cancels.stop()
}

// Ping says whether Redis answers: nil or ErrUnavailable.
func (e *Engine) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	return unavailable(ping(ctx, e.redis))
}

// RefusingWrites is how many partitions take no writes: too few replicas follow their
// server, its disk is full, it is a replica, its user may not, or it is away. It tries one
// that changes nothing; Ping says whether Redis answers at all.
func (e *Engine) RefusingWrites(ctx context.Context) (partitions int) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	cmds, _ := e.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error { // the commands have the errors
		for p := range e.keys.partitions {
			pipe.Del(ctx, e.keys.base(p)+"no:such:key")
		}
		return nil
	})
	for _, cmd := range cmds {
		if cmd.Err() != nil {
			partitions++
		}
	}
	return partitions
}

// Now is the time by Redis's clock, which decides every deadline and start.
func (e *Engine) Now(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	now, err := e.redis.Time(ctx).Result()
	return now.UTC(), unavailable(err)
}

// Partitions is the number of partitions.
func (e *Engine) Partitions() int { return e.keys.partitions }
