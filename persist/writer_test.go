package persist_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

func TestWriterBringsEveryKindOfEnd(t *testing.T) {
	e := newEnv(t)
	pool := e.drop(engine.SizeStock{Stock: 10})
	sized := e.drop(engine.SizeStock{Size: "42", Stock: 5}, engine.SizeStock{Size: "43", Stock: 5})
	user := e.user()

	e.add(pool.ID, rec("p", pool.ID, 1, user, "ten:and:a half"), rec("c", pool.ID, 2, user, ""))
	e.add(pool.ID, rec("x", pool.ID, 3, user, ""))
	e.add(sized.ID, rec("p", sized.ID, 1, user, "43"))

	reg := prometheus.NewRegistry()
	w := e.writer("one", func(c *persist.WriterConfig) { c.Metrics = reg })
	e.drain(w)

	for seq, want := range map[int64]engine.Status{
		1: engine.StatusCompleted, 2: engine.StatusCancelled, 3: engine.StatusExpired,
	} {
		r, err := e.store.Reservation(t.Context(), engine.ReservationID(pool.ID, seq))
		must(t, err)
		if r.Status != want || r.Confirmed != (want == engine.StatusCompleted) || r.User != user || r.Drop != pool.ID {
			t.Errorf("reservation %d: %+v, want %s", seq, r, want)
		}
		if want := time.UnixMilli(1_800_000_000_000 + seq).UTC(); !r.Ended.Equal(want) || r.Ended.Location() != time.UTC {
			t.Errorf("reservation %d ended %v, want %v", seq, r.Ended, want)
		}
	}
	r, err := e.store.Reservation(t.Context(), engine.ReservationID(pool.ID, 1))
	must(t, err)
	if r.Size != "ten:and:a half" {
		t.Errorf("size %q was not kept", r.Size)
	}
	e.counted(pool.ID, "", 1)
	e.counted(sized.ID, "42", 0)
	e.counted(sized.ID, "43", 1)
	if n := metric(t, reg, "holdfast_writer_rows_total"); n != 6 {
		t.Errorf("%v rows in the metric, want 4 reservations and 2 purchases", n)
	}
	last, err := e.store.LastSeq(t.Context(), pool.ID)
	must(t, err)
	if last != 3 {
		t.Errorf("last seq %d, want 3", last)
	}
}

// The ledger as the engine's own scripts write it.
func TestWriterFollowsTheEngine(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	user := e.user()
	d, err := e.store.CreateDrop(ctx, persist.NewDrop{
		Name: "x", Start: time.Now().Add(-time.Minute), Hold: engine.MinHold,
		Sizes: []engine.SizeStock{{Size: "42", Stock: 5}, {Size: "43", Stock: 5}},
	})
	must(t, err)
	eng, err := engine.New(engine.Config{Redis: e.redis, Prefix: e.Prefix, Partitions: partitions})
	must(t, err)
	must(t, eng.Start(ctx))
	t.Cleanup(eng.Stop)
	admit(t, eng, e.store)
	must(t, eng.Open(ctx, d.Terms(1)))
	must(t, e.store.MarkOpened(ctx, d.ID))
	expirer := eng.NewExpirer(engine.ExpirerConfig{})
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { expirer.Run(running); close(ended) }()
	t.Cleanup(func() { stop(); <-ended })
	w := e.writer("one", nil)

	want := map[int64]engine.Status{}
	for i, end := range []func(context.Context, int64) (engine.Reservation, error){eng.Purchase, eng.Purchase, eng.Cancel, nil} {
		hold, err := eng.Reserve(ctx, engine.ReserveRequest{Drop: d.ID, User: user, Size: []string{"42", "43"}[i%2]})
		must(t, err)
		want[hold.ID] = engine.StatusExpired
		if end != nil {
			r, err := end(ctx, hold.ID)
			must(t, err)
			want[hold.ID] = r.Status
		}
	}
	e.eventually("four ended reservations", func() bool { return e.count(`SELECT count(*) FROM reservations`) == 4 })
	e.drain(w)
	for id, status := range want {
		r, err := e.store.Reservation(ctx, id)
		must(t, err)
		if r.Status != status || r.Confirmed != (status == engine.StatusCompleted) {
			t.Errorf("reservation %d is %s (confirmed %v), want %s", id, r.Status, r.Confirmed, status)
		}
	}
	e.counted(d.ID, "42", 1)
	e.counted(d.ID, "43", 1)
}

func TestWriterCountsReplaysOnce(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Stock: 10})
	user := e.user()
	purchase := rec("p", d.ID, 1, user, "")

	w := e.writer("one", nil)
	e.add(d.ID, purchase, purchase)
	e.add(d.ID, purchase)
	e.drain(w)
	e.add(d.ID, purchase, rec("p", d.ID, 2, user, ""))
	e.drain(w)

	e.counted(d.ID, "", 2)
	if dead := e.dead(d.ID); len(dead) > 0 {
		t.Errorf("dead letters %q", dead)
	}
}

// An id under which two people bought, in one batch or in two: Redis is
// broken, but neither purchase may vanish.
func TestWriterKeepsASecondPurchaseOfOneID(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Stock: 10})
	ada := e.user()
	users, err := persist.NewUsers(persist.UsersConfig{Store: e.store})
	must(t, err)
	bob, _, err := users.FindOrCreate(t.Context(), "bob", "")
	must(t, err)

	e.add(d.ID, rec("p", d.ID, 1, ada, "")) // before the writer starts: one batch
	e.add(d.ID, rec("p", d.ID, 1, bob.ID, ""))
	w := e.writer("one", nil)
	e.add(d.ID, rec("p", d.ID, 2, ada, ""))
	e.drain(w)
	e.add(d.ID, rec("p", d.ID, 2, bob.ID, ""))
	e.drain(w)

	e.counted(d.ID, "", 2)
	want := []string{rec("p", d.ID, 1, bob.ID, ""), rec("p", d.ID, 2, bob.ID, "")}
	if dead := e.dead(d.ID); !slices.Equal(dead, want) {
		t.Errorf("dead letters %q, want %q", dead, want)
	}
}

func TestWritersShareTheLedger(t *testing.T) {
	e := newEnv(t)
	drops := []persist.Drop{e.drop(engine.SizeStock{Stock: 400}), e.drop(engine.SizeStock{Stock: 400}), e.drop(engine.SizeStock{Stock: 400})}
	user := e.user()
	small := func(c *persist.WriterConfig) { c.Batch = 16; c.ClaimIdle = 5 * time.Millisecond } // claims what is in hand, too
	w := e.writer("one", small)
	e.writer("two", small)
	for seq := int64(1); seq <= 400; seq++ {
		for _, d := range drops {
			e.add(d.ID, rec("p", d.ID, seq, user, ""))
		}
	}
	e.drain(w)
	for _, d := range drops {
		e.counted(d.ID, "", 400)
	}
}

func TestWriterSetsBadRecordsAside(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Size: "42", Stock: 50})
	user := e.user()
	unknownDrop := d.ID + 2*partitions // of the same partition
	bad := []string{
		"garbage",
		rec("q", d.ID, 90, user, "42"),
		rec("p", unknownDrop, 1, user, "42"),
		rec("x", unknownDrop, 2, user, "42"),
		rec("p", d.ID, 91, user+999, "42"),
		rec("p", d.ID, 92, user, "no such size"),
		rec("p", d.ID, 93, user, "4\x002"),
		rec("c", d.ID, 94, user, "\xff\xfe"),
		strings.Replace(rec("x", d.ID, 95, user, "42"), "1800000000095", "9000000000000000000", 1),
	}
	seq := int64(0)
	for _, b := range bad {
		seq++
		e.add(d.ID, rec("p", d.ID, seq, user, "42"), b)
	}
	reg := prometheus.NewRegistry()
	w := e.writer("one", func(c *persist.WriterConfig) { c.Metrics = reg })
	e.drain(w)

	e.counted(d.ID, "42", seq)
	slices.Sort(bad)
	if dead := e.dead(d.ID); !slices.Equal(dead, bad) {
		t.Errorf("dead letters\n%q, want\n%q", dead, bad)
	}
	if n := metric(t, reg, "holdfast_writer_dead_letters_total"); n != float64(len(bad)) {
		t.Errorf("%v dead letters in the metric, want %d", n, len(bad))
	}
	e.eventually("the length of the dead-letter stream as a metric", func() bool {
		return metric(t, reg, "holdfast_ledger_dead_entries") == float64(len(bad))
	})
}

func TestWriterRefusesToOversell(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Stock: 3})
	user := e.user()
	var purchases []string
	for seq := int64(1); seq <= 5; seq++ {
		purchases = append(purchases, rec("p", d.ID, seq, user, "any"))
	}
	log := &lines{}
	reg := prometheus.NewRegistry()
	w := e.writer("one", func(c *persist.WriterConfig) {
		c.Metrics = reg
		c.Log = slog.New(slog.NewTextHandler(log, nil))
	})
	e.add(d.ID, append(purchases, rec("x", d.ID, 6, user, ""))...)
	e.drain(w)
	e.add(d.ID, purchases...) // and once more, as after a crash
	e.drain(w)

	e.counted(d.ID, "", 3)
	counts, err := e.store.Counts(t.Context())
	must(t, err)
	if counts[0].Refused != 2 {
		t.Errorf("%d refused in the counts, want 2", counts[0].Refused)
	}
	if n := e.count(`SELECT count(*) FROM refused_purchases WHERE reason LIKE '%drop_sizes_sold%'`); n != 2 {
		t.Errorf("%d refused purchases, want 2", n)
	}
	for seq, want := range map[int64]engine.Status{3: engine.StatusCompleted, 4: persist.StatusRefused, 5: persist.StatusRefused, 6: engine.StatusExpired} {
		r, err := e.store.Reservation(t.Context(), engine.ReservationID(d.ID, seq))
		must(t, err)
		if r.Status != want || r.Confirmed != (want == engine.StatusCompleted) {
			t.Errorf("reservation %d is %s (confirmed %v), want %s", seq, r.Status, r.Confirmed, want)
		}
	}
	if n := metric(t, reg, "holdfast_writer_refused_purchases_total"); n != 2 {
		t.Errorf("%v refused in the metric, want 2", n)
	}
	if n := log.count("level=ERROR"); n != 2 {
		t.Errorf("%d errors logged, want one a refused purchase:\n%s", n, log)
	}

	// The refusal is final, even when there is room later.
	_, err = e.sql.Exec(t.Context(), `UPDATE drop_sizes SET total_stock = 10`)
	must(t, err)
	e.add(d.ID, purchases...)
	e.drain(w)
	e.counted(d.ID, "", 3)
}

func TestWriterOutlivesAnOutageOfPostgres(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Stock: 1000})
	user := e.user()
	proxy := harness.NewProxy(t, e.DatabaseURL)
	store, err := persist.Open(persist.Config{URL: proxy.URL(), Timeout: time.Second})
	must(t, err)
	t.Cleanup(store.Close)
	log := &lines{}
	reg := prometheus.NewRegistry()
	w := e.writer("one", func(c *persist.WriterConfig) {
		c.Store, c.Batch, c.Metrics = store, 20, reg
		c.Log = slog.New(slog.NewTextHandler(log, nil))
	})
	for seq := int64(1); seq <= 300; seq++ {
		if seq == 100 {
			proxy.Cut()
		}
		e.add(d.ID, rec("p", d.ID, seq, user, ""))
	}
	if err := store.Ping(t.Context()); !errors.Is(err, persist.ErrUnavailable) {
		t.Errorf("ping through a cut connection: %v, want ErrUnavailable", err)
	}
	e.eventually("the lag to rise while Postgres is away", func() bool {
		return metric(t, reg, "holdfast_ledger_lag_seconds") > 1.5
	})
	proxy.Restore()
	e.drain(w)
	e.counted(d.ID, "", 300)
	if n := log.count("level=ERROR"); n != 1 {
		t.Errorf("%d errors logged for one outage:\n%s", n, log)
	}
	if n := log.count("again"); n != 1 {
		t.Errorf("%d recoveries logged for one outage:\n%s", n, log)
	}
}

// The commit happened, and the answer to it was lost.
func TestWriterRepeatsACommitWhoseReplyWasLost(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Stock: 10})
	user := e.user()
	proxy := harness.NewProxy(t, e.DatabaseURL)
	store, err := persist.Open(persist.Config{URL: proxy.URL(), Timeout: time.Second})
	must(t, err)
	t.Cleanup(store.Close)
	w := e.writer("one", func(c *persist.WriterConfig) { c.Store, c.Parallel = store, 1 })
	e.add(d.ID, rec("p", d.ID, 1, user, "")) // so that the connection and its statements are prepared
	e.drain(w)

	proxy.DropReplies()
	e.add(d.ID, rec("p", d.ID, 2, user, ""))
	e.eventually("the commit", func() bool { return e.count(`SELECT count(*) FROM purchases`) == 2 })
	if n := e.redis.XLen(t.Context(), e.stream(d.ID, "ledger")).Val(); n != 1 {
		t.Errorf("%d entries while the outcome is unknown, want 1", n)
	}
	proxy.Pass()
	e.drain(w)
	e.counted(d.ID, "", 2)
}

func TestWriterStopsWhilePostgresIsAway(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Stock: 10})
	proxy := harness.NewProxy(t, e.DatabaseURL)
	store, err := persist.Open(persist.Config{URL: proxy.URL(), Timeout: time.Second})
	must(t, err)
	t.Cleanup(store.Close)
	proxy.Cut()
	log := &lines{}
	w := e.writer("one", func(c *persist.WriterConfig) {
		c.Store = store
		c.Log = slog.New(slog.NewTextHandler(log, nil))
	})
	e.add(d.ID, rec("p", d.ID, 1, e.user(), ""))
	e.eventually("the writer to notice", func() bool { return log.count("level=ERROR") == 1 })

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := w.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
	// Nothing is lost: another writer takes over.
	e.drain(e.writer("two", nil))
	e.counted(d.ID, "", 1)
}

// A process that dies after the commit and before the acknowledgement leaves
// entries that are in Postgres already.
func TestWriterKilledBetweenCommitAndAck(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Stock: 10})
	user := e.user()
	dying := e.redisClient(noAck{})
	w := e.writer("dying", func(c *persist.WriterConfig) { c.Ledger = e.ledger(dying, "dying") })
	e.add(d.ID, rec("p", d.ID, 1, user, ""), rec("p", d.ID, 2, user, ""))
	e.add(d.ID, rec("c", d.ID, 3, user, ""))
	e.eventually("the commit", func() bool { return e.count(`SELECT count(*) FROM purchases`) == 2 })
	must(t, w.Stop(t.Context()))
	if n := e.redis.XLen(t.Context(), e.stream(d.ID, "ledger")).Val(); n != 2 {
		t.Fatalf("%d entries left by the dead writer, want 2", n)
	}

	e.drain(e.writer("heir", nil))
	e.counted(d.ID, "", 2)
	if n := e.count(`SELECT count(*) FROM reservations`); n != 3 {
		t.Errorf("%d reservations, want 3", n)
	}
}

// What a living writer holds is not claimed before ClaimIdle.
func TestWriterLeavesOthersTheirEntries(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Stock: 10})
	holder := e.ledger(e.redis, "holder")
	must(t, holder.Init(t.Context(), int(d.ID%partitions)))
	e.add(d.ID, rec("p", d.ID, 1, e.user(), ""))
	held, err := holder.Read(t.Context(), int(d.ID%partitions), 10, 0)
	must(t, err)
	if len(held) != 1 {
		t.Fatalf("holder got %d entries", len(held))
	}
	began := time.Now()
	w := e.writer("other", func(c *persist.WriterConfig) { c.ClaimIdle = time.Second })
	e.drain(w)
	if took := time.Since(began); took < 700*time.Millisecond {
		t.Errorf("claimed after %v, want about a second", took)
	}
	e.counted(d.ID, "", 1)
}

// What a writer had in hand when it died it takes up again at once, without
// waiting for ClaimIdle.
func TestWriterResumesItsOwn(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Stock: 10})
	before := e.ledger(e.redis, "same")
	must(t, before.Init(t.Context(), int(d.ID%partitions)))
	user := e.user()
	for seq := range int64(5) {
		e.add(d.ID, rec("p", d.ID, seq+1, user, ""))
	}
	held, err := before.Read(t.Context(), int(d.ID%partitions), 10, 0)
	must(t, err)
	if len(held) != 5 {
		t.Fatalf("got %d entries, want 5", len(held))
	}
	e.drain(e.writer("same", func(c *persist.WriterConfig) { c.ClaimIdle = time.Hour; c.Batch = 2 }))
	e.counted(d.ID, "", 5)
}

func TestWriterSplitsLargeEntries(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Stock: 10})
	user := e.user()
	var records []string
	for seq := int64(1); seq <= 2500; seq++ {
		records = append(records, rec("x", d.ID, seq, user, ""))
	}
	e.add(d.ID, records...)
	reg := prometheus.NewRegistry()
	w := e.writer("one", func(c *persist.WriterConfig) { c.Metrics, c.Batch = reg, 1000 })
	e.drain(w)
	if n := e.count(`SELECT count(*) FROM reservations WHERE status = 'expired'`); n != 2500 {
		t.Errorf("%d expired reservations, want 2500", n)
	}
	if n := metric(t, reg, "holdfast_writer_batches_total"); n != 3 {
		t.Errorf("%v batches, want 3", n)
	}
}

func TestDrainReportsProgress(t *testing.T) {
	e := newEnv(t)
	d := e.drop(engine.SizeStock{Stock: 10})
	w, err := persist.NewWriter(persist.WriterConfig{Ledger: e.ledger(e.redisClient(), "one"), Store: e.store})
	must(t, err)
	e.add(d.ID, rec("c", d.ID, 1, e.user(), ""))
	ctx, cancel := context.WithCancel(t.Context())
	var left []int64
	err = w.Drain(ctx, func(n int64) { left = append(left, n); cancel() })
	if !errors.Is(err, context.Canceled) || !slices.Equal(left, []int64{1}) {
		t.Errorf("drain of a writer that is not running: %v, progress %v", err, left)
	}
}

func TestWriterNeedsItsParts(t *testing.T) {
	if _, err := persist.NewWriter(persist.WriterConfig{}); err == nil {
		t.Error("a writer without ledger and store was made")
	}
}

// noAck loses the calls that take entries off the ledger, as if the process had died.
type noAck struct{}

func (noAck) DialHook(next redis.DialHook) redis.DialHook { return next }
func (noAck) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "eval") && slices.Contains(cmd.Args(), any("persist")) {
			cmd.SetErr(errors.New("killed"))
			return cmd.Err()
		}
		return next(ctx, cmd)
	}
}

func (noAck) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// lines collects a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) count(what string) int { return strings.Count(fmt.Sprint(l), what) }

// TestWriterWithAPostgresTooSlowForABatch has Postgres take longer for a batch than it may: it is
// brought in parts, until they are small enough.
func TestWriterWithAPostgresTooSlowForABatch(t *testing.T) {
	const sales = 300
	s := newShop(t)
	user, d := s.user(), s.sells(0, engine.SizeStock{Stock: sales})
	for range sales {
		s.buy(d.ID, user, "")
	}
	_, err := s.sql.Exec(t.Context(), `
		CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.005); RETURN NEW; END $$;
		CREATE TRIGGER slow BEFORE INSERT ON purchases FOR EACH ROW EXECUTE FUNCTION slow()`)
	must(t, err)
	store, err := persist.Open(persist.Config{URL: s.DatabaseURL, MaxConns: 4, Timeout: time.Second})
	must(t, err)
	defer store.Close()
	w := s.writer("w", func(c *persist.WriterConfig) { c.Store = store })
	waited, stop := context.WithTimeout(t.Context(), 60*time.Second)
	defer stop()
	must(t, w.Drain(waited, nil))
	if n := s.count(`SELECT count(*) FROM purchases`); n != sales {
		t.Errorf("%d purchases, want %d", n, sales)
	}
	s.audited()
}
