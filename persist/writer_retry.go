package persist

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/holdfast/holdfast/engine"
)

// Tries are this far apart while a server is away, doubling, half of it jitter.
const (
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second
)

// persistently repeats do until it succeeds, Postgres refuses its data, or
// another epoch has begun, of which nothing is logged here.
// Any other error it returns only once the writer is stopping: a server that
// is away must not hold up Stop.
func (w *Writer) persistently(server *outage, do func(context.Context) error) error {
	away := false
	defer func() {
		if away {
			server.over()
		}
	}()
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		err := w.attempt(server, do)
		switch {
		case err == nil, refusesData(err), errors.Is(err, ErrStaleEpoch), errors.Is(err, engine.ErrFenced), w.isStopping():
			return err
		}
		w.metrics.errors.WithLabelValues(server.of).Inc()
		if !away && !contended(err) && !errors.Is(err, errFenced) {
			away = true
			server.began(err)
		}
		wait := time.NewTimer(pause/2 + rand.N(pause/2)) //nolint:gosec // likewise
		select {
		case <-wait.C:
		case <-w.stopping:
			wait.Stop() // one last try
		}
	}
}

// attempt runs do once, in a slot if it goes to Postgres.
func (w *Writer) attempt(server *outage, do func(context.Context) error) error {
	if server == w.postgres {
		select {
		case w.slots <- struct{}{}:
			defer func() { <-w.slots }()
		case <-w.ctx.Done():
			return w.ctx.Err()
		}
	}
	return do(w.ctx)
}

// outage tells the log once when a server goes away and once when nobody waits
// for it any more, however many goroutines notice: those on the healthy masters
// of a cluster do not.
type outage struct {
	of    string
	log   *slog.Logger
	who   string // can not reach it
	means string

	mu      sync.Mutex
	waiting int // goroutines that have met it and go on trying
	since   time.Time
}

// began counts a goroutine that meets the outage; over must follow.
func (o *outage) began(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting++; o.waiting == 1 {
		o.since = time.Now()
		o.log.Error("a server can not be reached; trying until it is back", "server", o.of, "who", o.who, "means", o.means, "error", err)
	}
}

func (o *outage) over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting--; o.waiting == 0 {
		o.log.Info("a server is reached again", "who", o.who, "server", o.of, "after", time.Since(o.since).Round(time.Millisecond))
	}
}
