package persist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast/holdfast/engine"
)

// ErrSuperseded says that another Redis is served in place of this one.
var ErrSuperseded = errors.New(`this Redis has been replaced by another one; if that one is gone for good, run "holdfast rebuild"`)

// ReconcilerConfig configures a Reconciler.
type ReconcilerConfig struct {
	// Engine is of the Redis that is compared. Required.
	Engine *engine.Engine
	// Store is compared with. Required.
	Store *Store
	// Every is how often the partitions are looked at when no call finds one
	// fenced. Defaults to 1 s.
	Every time.Duration
	// Webhooks hear of drops that are sold out since a change was finished: the same as
	// the writer's. Defaults to none.
	Webhooks []Subscription
	// Log gets rebuilds, outages and lost work. Defaults to slog.Default().
	Log *slog.Logger
	// Metrics gets the reconciler's metrics. Defaults to none being registered.
	Metrics prometheus.Registerer
}

// Reconciler keeps Redis in step with Postgres when Redis changes under the
// sale: a partition that is fenced (a restart, a fail-over, data lost) is
// compared with Postgres, set right and admitted in a new epoch, and what was
// acknowledged and lost is reported. It also finishes changes of drops that were
// cut short. Any number may run; each instance runs
// one, since each looks for what itself has acknowledged.
type Reconciler struct {
	cfg      ReconcilerConfig
	steering *Steering
	metrics  *reconcilerMetrics
	outage   *outage
}

// NewReconciler makes a Reconciler that is not running yet.
func NewReconciler(cfg ReconcilerConfig) (*Reconciler, error) {
	if cfg.Engine == nil || cfg.Store == nil {
		return nil, errors.New("persist: ReconcilerConfig.Engine and Store are required")
	}
	cfg.Every = orDefault(cfg.Every, time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}
	metrics, err := newReconcilerMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	steering, err := NewSteering(SteeringConfig{Engine: cfg.Engine, Store: cfg.Store, Webhooks: cfg.Webhooks, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	return &Reconciler{cfg: cfg, steering: steering, metrics: metrics, outage: &outage{
		of: "redis or postgres", log: cfg.Log, who: "reconciler",
		means: "partitions of Redis that have changed are fenced until they are compared with Postgres",
	}}, nil
}

// Run keeps the partitions in step until ctx ends. What this instance has
// acknowledged and not looked for by then is looked for at last, within a second.
func (r *Reconciler) Run(ctx context.Context) {
	tick := time.NewTicker(r.cfg.Every)
	defer tick.Stop()
	defer r.lookAtLast(ctx)
	away := false
	for {
		switch err := r.pass(ctx); {
		case ctx.Err() != nil:
			return
		case errors.Is(err, engine.ErrBusy), errors.Is(err, engine.ErrFenced), errors.Is(err, ErrStaleEpoch):
			// Somebody else is at it, or Redis has changed once more: again soon.
		case err != nil && len(r.cfg.Engine.Fenced()) > 0: // else nothing waits for it
			if !away {
				r.outage.began(err)
			}
			away = true
		case away:
			r.outage.over()
			away = false
		}
		select {
		case <-ctx.Done():
			return
		case <-r.cfg.Engine.EpochNews():
		case <-tick.C:
		}
	}
}

// lookAtLast looks for lost work once more: only this instance remembers what
// it has acknowledged.
func (r *Reconciler) lookAtLast(ended context.Context) {
	const patience = time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ended), patience)
	defer cancel()
	for p := range r.cfg.Engine.Partitions() {
		if _, err := r.cfg.Engine.Refresh(ctx, p); err != nil {
			break // Redis is away
		}
	}
	for _, p := range r.cfg.Engine.TakeChanged() {
		if err := r.lookForLost(ctx, p); err != nil {
			r.cfg.Log.Error("acknowledged work could not be looked for at the end; if Redis lost any, nobody knows of it",
				"partition", p, "err", err)
		}
	}
}

// Settle goes over all partitions once, as an instance does at its start: it
// returns when each has been compared where it had to be, by this process or
// another, and opens the drops whose creation was cut short. It returns the first error:
// ErrUnavailable and engine.ErrUnavailable where a server does not answer.
func (r *Reconciler) Settle(ctx context.Context) error {
	const every = 50 * time.Millisecond
	for {
		err := r.pass(ctx)
		if err != nil && !errors.Is(err, engine.ErrBusy) && !errors.Is(err, engine.ErrFenced) && !errors.Is(err, ErrStaleEpoch) {
			return err
		}
		if err == nil && len(r.cfg.Engine.Fenced()) == 0 {
			return r.openCutShort(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("partitions are still fenced: %w", ctx.Err())
		case <-time.After(every):
		}
	}
}

// parallel is how many partitions are worked on at once.
const parallel = 4

// pass looks at each partition once.
func (r *Reconciler) pass(ctx context.Context) error {
	var (
		mu   sync.Mutex
		errs []error
		wg   sync.WaitGroup
	)
	// Before Redis is asked: what is served there is then at least as new.
	raised, away := r.cfg.Store.allEpochs(ctx)
	if away != nil {
		errs = append(errs, away) // partitions that are fenced are found and told of all the same
	}
	slots := make(chan struct{}, parallel)
	for p := range r.cfg.Engine.Partitions() {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := r.look(ctx, p, raised[p], away == nil); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	r.metrics.fenced.Set(float64(len(r.cfg.Engine.Fenced())))
	for _, p := range r.cfg.Engine.TakeChanged() {
		if err := r.lookForLost(ctx, p); err != nil {
			r.cfg.Engine.PutChanged(p)
			errs = append(errs, err)
		}
	}
	// Whatever keeps one drop's change from being finished: the others are served.
	if away == nil {
		if err := r.steering.FinishCutShort(ctx); err != nil {
			r.cfg.Log.Error("a change of a drop could not be finished; it is tried again", "err", err)
		}
	}
	return errors.Join(errs...)
}

// look rebuilds a partition that is fenced, or whose writers are: a rebuild
// that raised the epoch and died with its Redis has left them without one, or
// Postgres lost it, in a restore or a fail-over. It
// waits until no rebuild can be under way elsewhere, which would be served too.
// Where Postgres is away, what it has raised is not known.
func (r *Reconciler) look(ctx context.Context, p int, raised Epochs, known bool) error {
	r.cfg.Engine.NotBefore(p, raised.Admitted)
	admitted, err := r.cfg.Engine.Refresh(ctx, p)
	if err != nil {
		return err
	}
	epoch := r.cfg.Engine.Epoch(p)
	if known && admitted && epoch > raised.Epoch { // admitted since, or Postgres has gone back: it takes nothing from writers
		all, err := r.cfg.Store.allEpochs(ctx)
		if err != nil {
			return err
		}
		raised = all[p]
	}
	behind := known && admitted && epoch > raised.Epoch
	orphaned := admitted && raised.Orphaned && epoch < raised.Epoch && epoch >= raised.Admitted || behind
	if admitted && !orphaned {
		if epoch == raised.Epoch && raised.Admitted < epoch { // who admitted it could not note it
			return r.cfg.Store.admitted(ctx, p, epoch)
		}
		return nil
	}
	_, err = r.rebuild(ctx, p, rebuildOptions{asked: orphaned})
	if errors.Is(err, engine.ErrBusy) || errors.Is(err, engine.ErrFenced) || errors.Is(err, ErrStaleEpoch) {
		return fmt.Errorf("partition %d: %w", p, err) // somebody else is at it, or Redis changed once more
	}
	return err
}

// lookForLost reports what this instance acknowledged on a partition, and
// neither Redis nor Postgres has.
func (r *Reconciler) lookForLost(ctx context.Context, p int) error {
	missing, err := r.cfg.Engine.Unaccounted(ctx, p)
	if err != nil {
		return err
	}
	for page := range slices.Chunk(missing, purchasePage) {
		if err := r.report(ctx, page, "", "acknowledged before Redis changed, and not in it since"); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) report(ctx context.Context, lost []engine.Reservation, kind, reason string) error {
	return reportLost(ctx, r.cfg.Store, r.metrics.lost, r.cfg.Log, lost, kind, reason)
}

// reportLost keeps lost work in Postgres, counts it and logs it.
func reportLost(ctx context.Context, s *Store, counter *prometheus.CounterVec, log *slog.Logger,
	lost []engine.Reservation, kind, reason string,
) error {
	added, err := s.reportLost(ctx, lost, kind, reason)
	if err != nil {
		return err
	}
	for kind, n := range added {
		counter.WithLabelValues(kind).Add(float64(n))
		log.Error("acknowledged work was lost; it is in the table lost_work", "kind", kind, "count", n, "reason", reason)
	}
	return nil
}

// openCutShort opens the drops that Redis lacks in partitions which are
// served: those whose creation was cut short. A drop that Redis had and has no
// more is rebuilt with its partition.
func (r *Reconciler) openCutShort(ctx context.Context) error {
	lost := map[int]bool{}
	for d, err := range r.cfg.Store.AllDrops(ctx) {
		if err != nil {
			return err
		}
		known, err := r.cfg.Engine.Stock(ctx, []int64{d.ID})
		if err != nil {
			return err
		}
		switch {
		case known[0] == nil && !d.Opened.IsZero():
			lost[r.cfg.Engine.Partition(d.ID)] = true
			continue
		case known[0] == nil:
			err := r.cfg.Engine.Open(ctx, d.Terms(1)) // it never had a hold
			if errors.Is(err, engine.ErrInvalid) {
				r.cfg.Log.Error("a drop that Redis does not have cannot be opened", "drop", d.ID, "err", err)
				continue
			}
			if err != nil {
				return err
			}
		}
		if d.Opened.IsZero() {
			if err := r.cfg.Store.MarkOpened(ctx, d.ID); err != nil {
				return err
			}
		}
	}
	for p := range lost {
		if _, err := r.rebuild(ctx, p, rebuildOptions{asked: true}); err != nil && !errors.Is(err, engine.ErrBusy) {
			return err
		}
	}
	return nil
}

type reconcilerMetrics struct {
	rebuilds *prometheus.CounterVec
	seconds  prometheus.Histogram
	restored prometheus.Counter
	fenced   prometheus.Gauge
	lost     *prometheus.CounterVec
}

func newReconcilerMetrics(reg prometheus.Registerer) (*reconcilerMetrics, error) {
	lost, err := newLostCounter(reg)
	if err != nil {
		return nil, err
	}
	m := &reconcilerMetrics{
		rebuilds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_rebuilds_total",
			Help: "Partitions compared with Postgres and admitted again, by whether Redis may have lost something.",
		}, []string{"lossy"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "holdfast_rebuild_seconds",
			Help:    "How long a partition was being rebuilt.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		restored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_restored_purchases_total",
			Help: "Purchases that Postgres had and Redis lacked.",
		}),
		fenced: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "holdfast_fenced_partitions",
			Help: "Partitions that are not served until they are compared with Postgres.",
		}),
		lost: lost,
	}
	for _, c := range []prometheus.Collector{m.rebuilds, m.seconds, m.restored, m.fenced} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register reconciler metrics: %w", err)
		}
	}
	return m, nil
}

// newLostCounter gives the counter of lost work, which reconciler and writer share.
func newLostCounter(reg prometheus.Registerer) (*prometheus.CounterVec, error) {
	lost := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "holdfast_lost_work_total",
		Help: "Acknowledged work that Redis lost before Postgres had it, by kind; each is in the table lost_work.",
	}, []string{"kind"})
	if err := reg.Register(lost); err != nil {
		there := prometheus.AlreadyRegisteredError{}
		if !errors.As(err, &there) {
			return nil, fmt.Errorf("register metrics of lost work: %w", err)
		}
		existing, ok := there.ExistingCollector.(*prometheus.CounterVec)
		if !ok {
			return nil, fmt.Errorf("register metrics of lost work: %w", err)
		}
		return existing, nil
	}
	for _, kind := range []string{LostHold, LostPurchase, LostCancel, LostRevoked} {
		lost.WithLabelValues(kind) // shown from the start, as zero
	}
	return lost, nil
}
