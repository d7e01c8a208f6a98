package live

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// Config is what a Hub is made of.
type Config struct {
	// Engine tells of changes. Required.
	Engine *engine.Engine
	// Store is the catalogue. Required.
	Store *persist.Store
	// Render gives a drop as the API answers it, for drop_created and
	// drop_updated. Required.
	Render func(persist.Drop, *engine.Stock) any
	// Heard is called for each event that is heard, one at a time; it must not
	// block. Defaults to nobody being told.
	Heard func(engine.Event)
	// Buyers is how many of the newest buyers a drop shows. Defaults to none.
	Buyers int
	// MaxSockets is how many connections are served at once. Defaults to 10,000.
	MaxSockets int
	// MaxSocketsPerAddress is how many of them one address may have; those of
	// an IPv6 network of 64 bits count as one. Defaults to 1,000.
	MaxSocketsPerAddress int
	// Address is the address of who calls. Defaults to that of the connection.
	Address func(*fiber.Ctx) string
	// Every is the least time between two rounds. Defaults to 50 ms.
	Every time.Duration
	// PingEvery is how often a connection is pinged; it is given up after two
	// and a half times as long without a sign of life. Defaults to 20 s.
	PingEvery time.Duration
	// WriteTimeout is how long a connection may take to accept one round, and a
	// Socket.IO client to join and to poll again. Defaults to 10 s.
	WriteTimeout time.Duration
	// CheckEvery is how often everything is read anew without a cause, to find
	// what no event told. Defaults to 30 s.
	CheckEvery time.Duration
	// Log gets what an operator should know. Defaults to slog.Default().
	Log *slog.Logger
	// Metrics registers the hub's metrics. Defaults to none.
	Metrics prometheus.Registerer
}

func (c Config) withDefaults() Config {
	positive := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	positive(&c.Every, 50*time.Millisecond)
	positive(&c.PingEvery, 20*time.Second)
	positive(&c.WriteTimeout, 10*time.Second)
	positive(&c.CheckEvery, 30*time.Second)
	if c.MaxSockets <= 0 {
		c.MaxSockets = 10_000
	}
	if c.MaxSocketsPerAddress <= 0 {
		c.MaxSocketsPerAddress = 1_000
	}
	if c.Address == nil {
		c.Address = (*fiber.Ctx).IP
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// maxDrops is how many drops the board has, those with the greatest ids.
const maxDrops = 10_000

// Hub tells connected clients of changes. Its methods are safe for concurrent
// use.
type Hub struct {
	cfg      Config
	log      *slog.Logger
	door     *door
	sessions *sessions
	metrics  *metrics

	mu         sync.Mutex
	board      *board
	snapshot   []byte // of everything, as of snapshotAt
	snapshotAt time.Time

	current atomic.Pointer[round]
	restart atomic.Uint64 // the round with which clients had to begin anew, the last time
	waiting atomic.Int64  // connections that wait for the next round
	rung    chan struct{} // a bell that rings already
	gate    gate
	clock   clock

	news    chan struct{}   // something is dirty
	toRead  chan struct{}   // something is stale
	toList  chan struct{}   // something was sold or is new
	resync  atomic.Bool     // everything is stale
	listed  atomic.Bool     // the catalogue was read
	loaded  chan struct{}   // closed when the board was filled the first time
	life    context.Context // ends with Stop
	end     context.CancelFunc
	running sync.WaitGroup

	stopping    chan struct{}  // closed by Stop, with mu held
	connections sync.WaitGroup // joined with mu held, and not once stopping
}

// New makes a Hub; Start must be called before use.
func New(cfg Config) (*Hub, error) {
	if cfg.Engine == nil || cfg.Store == nil || cfg.Render == nil {
		return nil, errors.New("live: Engine, Store and Render are required")
	}
	cfg = cfg.withDefaults()
	h := &Hub{
		cfg: cfg, log: cfg.Log, board: newBoard(), gate: newGate(),
		door: newDoor(cfg.MaxSockets, cfg.MaxSocketsPerAddress), sessions: newSessions(),
		news: make(chan struct{}, 1), toRead: make(chan struct{}, 1), toList: make(chan struct{}, 1),
		loaded: make(chan struct{}), stopping: make(chan struct{}), rung: make(chan struct{}),
	}
	close(h.rung)
	h.life, h.end = context.WithCancel(context.Background())
	h.metrics = newMetrics(cfg.Metrics, h.door)
	h.current.Store(newRound(1)) // 0 is what a new watcher has seen
	return h, nil
}

// Start begins to hear and tell, until Stop.
func (h *Hub) Start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.isStopping() {
		return
	}
	h.running.Go(func() {
		h.cfg.Engine.Listen(h.life, engine.EventHandler{Event: h.hear, Resync: h.readAll})
	})
	h.running.Go(func() { h.keepStock(h.life) })
	h.running.Go(func() { h.keepCatalogue(h.life) })
	h.running.Go(func() { h.tell(h.life) })
}

// Stop closes every connection as going away and ends the hub. Connections
// that do not end by themselves before ctx does are left to their deadlines.
func (h *Hub) Stop(ctx context.Context) error {
	h.mu.Lock()
	if !h.isStopping() {
		close(h.stopping)
	}
	h.mu.Unlock()
	h.sessions.end()
	h.end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.connections.Wait()
		h.running.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *Hub) isStopping() bool {
	select {
	case <-h.stopping:
		return true
	default:
		return false
	}
}

// join counts a connection in, until its connections.Done; false if the hub
// is stopping.
func (h *Hub) join() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.isStopping() {
		return false
	}
	h.connections.Add(1)
	return true
}

// ring wakes whoever waits on a bell; one that rings already needs no more.
func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// hear takes in one event. It is called for one at a time.
func (h *Hub) hear(ev engine.Event) {
	if h.cfg.Heard != nil {
		h.cfg.Heard(ev)
	}
	h.mu.Lock()
	h.board.hear(ev, time.Now())
	stale := len(h.board.stale) > 0
	sold := len(h.board.sold) > 0 || len(h.board.changed) > 0 || h.board.drops[ev.Drop].row == nil
	h.mu.Unlock()
	ring(h.news)
	if stale {
		ring(h.toRead)
	}
	if sold {
		ring(h.toList)
	}
}

// readAll has everything read anew: events may have been missed.
func (h *Hub) readAll() {
	h.resync.Store(true)
	ring(h.toRead)
}

// tell sends rounds: one as soon as there is news, the next at the earliest
// Every later, and not before the last one was told.
func (h *Hub) tell(ctx context.Context) {
	p := pace{every: h.cfg.Every}
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.news:
		case <-h.keptBack():
		}
		last := h.current.Load()
		if !p.wait(ctx, last) {
			return
		}
		if took, ok := last.tookLong(); ok {
			h.metrics.roundTime.Observe(took.Seconds())
		}
		h.nextRound()
	}
}

// keptBack fires when it is time to look again at drops that are kept back
// until more is known of them; nil if there are none.
func (h *Hub) keptBack() <-chan time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.board.dirty) == 0 {
		return nil
	}
	return time.After(keepBack / 4)
}

// nextRound tells what is dirty, as far as it can be told. The hub is locked
// until the round is out: who comes in between must not be given a newer state
// by a snapshot, and then the round.
func (h *Hub) nextRound() {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := newRound(h.current.Load().number + 1)
	for _, drop := range slices.Sorted(maps.Keys(h.board.dirty)) {
		e := h.board.dirty[drop]
		if !e.tellable() {
			continue
		}
		delete(h.board.dirty, drop)
		n := h.newsOf(e, r.number)
		r.news = append(r.news, n)
		r.all = append(r.all, n.frames...)
	}
	if h.board.turnedBack {
		h.board.turnedBack = false
		h.restart.Store(r.number)
	} else if len(r.news) == 0 {
		return
	}
	if len(r.news) == 1 {
		r.all = r.news[0].frames
	}
	h.snapshot = nil
	h.publish(r)
}

// newsOf encodes what is new of one drop and remembers it as told.
func (h *Hub) newsOf(e *entry, number uint64) news {
	n := news{drop: e.stock.Drop, sales: e.sales}
	if e.rowChanged {
		event := "drop_updated"
		if !e.announced {
			event, e.announced = "drop_created", true
		}
		e.rowTold = telling{round: number, frame: appendEvent(nil, event, h.cfg.Render(*e.row, &e.stock))}
		n.frames = append(n.frames, e.rowTold.frame...)
	}
	if e.stockChanged {
		if !e.waits.IsZero() {
			h.metrics.lag.Observe(max(0, h.clock.now().Sub(e.waits).Seconds()))
		}
		n.stock = &stockData{DropID: e.stock.Drop, counts: countsOf(e.stock), Reason: reasonOf(e.reason)}
		e.stockTold = telling{round: number, frame: appendEvent(nil, "stock_update", n.stock), data: n.stock}
		n.frames = append(n.frames, e.stockTold.frame...)
	}
	for _, s := range e.sales {
		n.frames = appendEvent(n.frames, "purchase_complete", saleFrame{saleData{e.stock.Drop, s.User, s.Reservation}, e.stock.Version})
	}
	if e.moreSales > 0 {
		n.frames = appendEvent(n.frames, "purchase_complete", salesFrame{e.stock.Drop, e.moreSales, e.stock.Version})
	}
	e.rowChanged, e.stockChanged, e.reason, e.waits, e.sales, e.moreSales = false, false, "", time.Time{}, nil, 0
	if e.place == nil {
		e.place = h.board.told.PushBack(e)
	} else {
		h.board.told.MoveToBack(e.place)
	}
	return n
}

// publish makes the round the current one, which wakes all who wait for it.
func (h *Hub) publish(r *round) {
	r.expect(h.waiting.Load())
	last := h.current.Swap(r)
	close(last.over)
	h.metrics.rounds.Inc()
}

// Figures are what the console shows of the hub beside the feed.
type Figures struct {
	WebSocket, SocketIO int64         // connected clients
	Late                time.Duration // greatest delay of the drop's releases in the last 5 to 10 s
	Released            bool          // whether there were any
}

// Figures gives the figures of a drop.
func (h *Hub) Figures(drop int64) Figures {
	f := Figures{WebSocket: h.door.count(overWebSocket), SocketIO: h.door.count(overSocketIO)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.board.drops[drop]; e != nil {
		f.Late, f.Released = e.late.greatest(time.Now())
	}
	return f
}
