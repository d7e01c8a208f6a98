package persist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast/holdfast/engine"
)

// WriterConfig configures a Writer.
type WriterConfig struct {
	// Ledger is read as one consumer. Its client needs a connection for each
	// partition, since reads block. Required.
	Ledger *engine.Ledger
	// Store is written to. Required.
	Store *Store
	// Batch is the most records in one transaction. Defaults to 2,000.
	Batch int
	// Linger is how long a batch waits for more after its first record.
	// Defaults to 20 ms.
	Linger time.Duration
	// Block is how long a read waits for the first record, and so about how
	// long Stop takes. Defaults to 1 s.
	Block time.Duration
	// ClaimIdle is how long entries must have been in another consumer's
	// hands, unfinished, before this one takes them over. Defaults to 30 s.
	ClaimIdle time.Duration
	// Parallel is the most transactions at once over all partitions, so that
	// the writer leaves connections of the Store to others. Defaults to 4.
	Parallel int
	// Webhooks hear of what is written: their events are in the same
	// transaction, and a webhook.Sender brings them. All writers of a ledger
	// need the same. Defaults to none.
	Webhooks []Subscription
	// Watch is how often length and age of the ledgers are measured.
	// Defaults to 1 s.
	Watch time.Duration
	// Log gets outages, dead letters and refusals. Defaults to slog.Default().
	Log *slog.Logger
	// Metrics gets the writer's metrics. Defaults to none being registered.
	Metrics prometheus.Registerer
	// Tracer traces the batches that traced purchases are in. Defaults to none.
	Tracer trace.Tracer
}

func (c *WriterConfig) defaults() error {
	if c.Ledger == nil || c.Store == nil {
		return errors.New("persist: WriterConfig.Ledger and Store are required")
	}
	c.Batch = orDefault(c.Batch, 2000)
	c.Linger = orDefault(c.Linger, 20*time.Millisecond)
	c.Block = orDefault(c.Block, time.Second)
	c.ClaimIdle = orDefault(c.ClaimIdle, 30*time.Second)
	c.Parallel = orDefault(c.Parallel, 4)
	c.Watch = orDefault(c.Watch, time.Second)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	return nil
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// Writer brings the engine's ledger to Postgres: one goroutine a partition
// reads, gathers a batch, commits it, and only then takes the entries off the
// ledger. So a record arrives at least once, and since all inserts are by key,
// counts once.
//
// Any number of writers may work on the same ledger. While Postgres is away a
// writer keeps its batch and tries again; the rest waits in Redis. Nothing is
// dropped: what Postgres will never take goes to the dead-letter stream, and a
// purchase that would oversell to the table refused_purchases.
type Writer struct {
	cfg      WriterConfig
	outbox   outbox
	metrics  *writerMetrics
	postgres *outage
	redis    *outage
	slots    chan struct{} // one a transaction under way

	stopping chan struct{} // closed by Stop: finish what is in hand
	stop     sync.Once
	ctx      context.Context // ends when Stop's patience does
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// NewWriter makes a Writer that is not running yet.
func NewWriter(cfg WriterConfig) (*Writer, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	metrics, err := newWriterMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Writer{
		cfg:      cfg,
		outbox:   newOutbox(cfg.Webhooks),
		metrics:  metrics,
		postgres: &outage{of: "postgres", log: cfg.Log, who: "writer", means: "purchases wait in the ledger"},
		redis:    &outage{of: "redis", log: cfg.Log, who: "writer", means: "purchases wait in the ledger"},
		slots:    make(chan struct{}, cfg.Parallel),
		stopping: make(chan struct{}),
		ctx:      ctx,
		cancel:   cancel,
	}, nil
}

// Start runs the writer until Stop. Call it once.
func (w *Writer) Start() {
	for p := range w.cfg.Ledger.Partitions() {
		w.running.Go(func() { w.follow(p) })
	}
	w.running.Go(w.watch)
}

// Stop finishes the batches in hand and returns when all goroutines have.
// When ctx ends, or Postgres is away, batches in hand are given up: their
// entries stay in the ledger for the next writer. Only then an error.
func (w *Writer) Stop(ctx context.Context) error {
	w.stop.Do(func() { close(w.stopping) })
	defer w.cancel()
	done := make(chan struct{})
	go func() {
		w.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		w.cancel()
		<-done // every call is bounded by w.ctx or by the read's Block
		return fmt.Errorf("writer stopped before its batch was written: %w", ctx.Err())
	}
}

// Drain waits until all ledgers are empty, that is until every purchase so
// far is confirmed or set aside. progress, which may be nil, gets the number
// of entries left whenever it changes. The writer, or another one, has to be
// running. Returns the error of ctx when that ends first.
func (w *Writer) Drain(ctx context.Context, progress func(left int64)) error {
	const every = 50 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := int64(-1); ; {
		left, err := w.left(ctx)
		switch {
		case err != nil: // Redis away: it may come back in time
		case left == 0:
			return nil
		case left != last && progress != nil:
			progress(left)
			last = left
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("draining the ledger: %w", ctx.Err())
		}
	}
}

func (w *Writer) left(ctx context.Context) (int64, error) {
	each, err := w.cfg.Ledger.Info(ctx)
	var left int64
	for _, info := range each {
		left += info.Length
	}
	return left, err
}

// watch measures the ledgers until Stop.
func (w *Writer) watch() {
	tick := time.NewTicker(w.cfg.Watch)
	defer tick.Stop()
	for {
		each, _ := w.cfg.Ledger.Info(w.ctx) // the partitions' goroutines report errors
		for p, info := range each {
			w.metrics.ledger(strconv.Itoa(p), info)
		}
		select {
		case <-tick.C:
		case <-w.stopping:
			return
		}
	}
}

func (w *Writer) isStopping() bool {
	select {
	case <-w.stopping:
		return true
	default:
		return false
	}
}
