package live

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast/holdfast/engine"
)

// round is what was told at one moment. It does not change once it is out, but
// for the count of who has told it.
type round struct {
	number  uint64
	started time.Time
	news    []news
	all     []byte         // the frames of all news
	packets func() packets // of all news, encoded for the first who asks
	over    chan struct{}  // closed when there is a later round

	// told counts deliveries; at enough the round counts as told: it took so
	// long, and done is closed.
	told   atomic.Int64
	enough int64
	took   time.Duration
	done   chan struct{}
}

func newRound(number uint64) *round {
	r := &round{number: number, started: time.Now(), over: make(chan struct{}), done: make(chan struct{})}
	r.packets = sync.OnceValue(func() packets { return packetsOf(r.news) })
	return r
}

// news is what a round has to say of one drop.
type news struct {
	drop   int64
	stock  *stockData // nil where the counts did not change
	sales  []engine.Sale
	frames []byte
}

// of picks the frames of some drops.
func (r *round) of(drops map[int64]bool) []byte {
	var mine [][]byte
	for _, n := range r.news {
		if drops[n.drop] {
			mine = append(mine, n.frames)
		}
	}
	if len(mine) == 1 {
		return mine[0]
	}
	return slices.Concat(mine...)
}

// expect says how many connections wait for the round, before it is out. It
// counts as told when all but a twentieth have told it: a few that are stuck do
// not hold up the others.
func (r *round) expect(connections int64) {
	r.enough = connections - connections/20
	if connections == 0 {
		close(r.done)
	}
}

// tookLong is how long it took to tell the round; false if nobody waited for it
// or it is not told yet.
func (r *round) tookLong() (time.Duration, bool) {
	select {
	case <-r.done:
		return r.took, r.took > 0
	default:
		return 0, false
	}
}

// deliver counts a connection that has told the round.
func (r *round) deliver() {
	if r.told.Add(1) == r.enough {
		r.took = time.Since(r.started)
		close(r.done)
	}
}
