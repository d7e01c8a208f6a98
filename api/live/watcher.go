package live

import (
	"iter"
	"maps"
	"slices"
	"time"
)

// watcher is one connection's place in the feed. It is its goroutine's own.
type watcher struct {
	hub   *Hub
	drops map[int64]bool // nil: all
	seen  uint64         // the last round that was taken
}

func (h *Hub) watch(drops []int64) *watcher {
	w := &watcher{hub: h}
	if len(drops) > 0 {
		w.drops = make(map[int64]bool, len(drops))
		for _, d := range drops {
			w.drops[d] = true
		}
	}
	return w
}

// bell is closed once there is a round that was not taken.
func (w *watcher) bell() <-chan struct{} {
	if r := w.hub.current.Load(); r.number == w.seen {
		return r.over
	}
	return w.hub.rung
}

// takeFrames gives the frames of all that is new, and the round that they
// bring the connection to. At first, and when Redis has gone back to an older
// state, that is a snapshot.
func (w *watcher) takeFrames() ([]byte, *round) {
	r := w.hub.current.Load()
	if w.seen == 0 || w.seen < w.hub.restart.Load() {
		return w.snapshot()
	}
	if r.number == w.seen+1 {
		w.seen = r.number
		if w.drops == nil {
			return r.all, r
		}
		return r.of(w.drops), r
	}
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	var frames []byte
	for e := range w.missed() {
		frames = e.appendMissed(frames, w.seen)
	}
	return frames, w.catchUp()
}

// takePackets gives the same for Socket.IO, but for the snapshot: such a
// watcher begins at the current round.
func (w *watcher) takePackets() (packets, *round) {
	r := w.hub.current.Load()
	switch r.number {
	case w.seen:
		return packets{}, nil
	case w.seen + 1:
		w.seen = r.number
		return r.packets(), r
	}
	w.hub.mu.Lock()
	var all []news
	for e := range w.missed() {
		if e.stockTold.round > w.seen {
			all = append(all, news{drop: e.stock.Drop, stock: e.stockTold.data})
		}
	}
	r = w.catchUp()
	w.hub.mu.Unlock()
	return packetsOf(all), r
}

// catchUp notes that everything up to the current round was taken.
func (w *watcher) catchUp() *round {
	r := w.hub.current.Load()
	if w.seen > 0 {
		w.hub.metrics.skipped.Add(float64(r.number - w.seen - 1))
	}
	w.seen = r.number
	return r
}

// missed goes through the entries that were told of after the last round that
// was taken, the oldest first. The hub is locked meanwhile.
func (w *watcher) missed() iter.Seq[*entry] {
	told := w.hub.board.told
	from := told.Back()
	for from != nil && told.Front() != from && from.Prev().Value.(*entry).toldIn() > w.seen { //nolint:forcetypeassert // the list holds entries
		from = from.Prev()
	}
	return func(yield func(*entry) bool) {
		for at := from; at != nil; at = at.Next() {
			e := at.Value.(*entry) //nolint:forcetypeassert // the list holds entries
			if e.toldIn() > w.seen && (w.drops == nil || w.drops[e.stock.Drop]) && !yield(e) {
				return
			}
		}
	}
}

// snapshotFresh is how old a snapshot for everybody may be, as its time has to
// be right.
const snapshotFresh = 50 * time.Millisecond

// snapshot gives the state of all drops that are watched.
func (w *watcher) snapshot() ([]byte, *round) {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.current.Load()
	w.seen = r.number
	if w.drops != nil {
		return h.encodeSnapshot(maps.Keys(w.drops), func(*entry) bool { return true }), r
	}
	if h.snapshot == nil || time.Since(h.snapshotAt) > snapshotFresh {
		now := h.clock.now()
		h.snapshot = h.encodeSnapshot(maps.Keys(h.board.drops), func(e *entry) bool { return !e.over(now) })
		h.snapshotAt = time.Now()
	}
	return h.snapshot, r
}

func (h *Hub) encodeSnapshot(drops iter.Seq[int64], which func(*entry) bool) []byte {
	data := snapshotData{ServerTime: stamp(h.clock.now()), Drops: []snapshotDrop{}}
	for _, id := range slices.Backward(slices.Sorted(drops)) {
		if e := h.board.drops[id]; e != nil && e.shown() && which(e) {
			data.Drops = append(data.Drops, snapshotDrop{id, countsOf(e.stock)})
		}
	}
	return appendEvent(nil, "snapshot", data)
}
