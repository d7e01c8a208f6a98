package webhook

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/holdfast/holdfast/persist"
)

// line sends to one receiver. It claims no more than it has places for, so a
// receiver that is slow or away costs its own places and nobody else's, and what
// waits for it waits in Postgres.
type line struct {
	cfg      Config
	receiver Receiver
	client   *http.Client
	signers  []*standardwebhooks.Webhook
	metrics  *metrics

	flying int                  // attempts under way
	ended  chan persist.Attempt // has room for all of them
	kept   []persist.Attempt    // ended and not in Postgres yet
	away   bool                 // Postgres does not answer
}

func (s *Sender) line(r Receiver) *line {
	return &line{
		cfg: s.cfg, receiver: r, client: s.client(r), signers: s.signers, metrics: s.metrics,
		ended: make(chan persist.Attempt, s.cfg.Concurrency),
	}
}

// run sends until ctx ends.
func (l *line) run(ctx context.Context) {
	defer l.client.CloseIdleConnections()
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	wake := time.NewTimer(0)
	defer wake.Stop()
	for {
		select {
		case a := <-l.ended:
			l.keep(a)
		case <-wake.C:
		case <-ctx.Done():
			l.finish(ctx, cancel)
			return
		}
		l.settle(ctx)
		l.claim(ctx, sending)
		// Jittered, so that instances do not all ask at the same moment.
		wake.Reset(l.cfg.Poll/2 + rand.N(l.cfg.Poll)) //nolint:gosec // jitter
	}
}

// keep takes what has ended, and everything that has ended besides.
func (l *line) keep(a persist.Attempt) {
	for more := true; more; {
		l.flying--
		l.kept = append(l.kept, a)
		select {
		case a = <-l.ended:
		default:
			more = false
		}
	}
}

// settle brings what has ended to Postgres, or leaves it for the next time: as
// long as that is, its places are taken.
func (l *line) settle(ctx context.Context) {
	if len(l.kept) == 0 {
		return
	}
	err := l.cfg.Store.SettleDeliveries(ctx, l.kept)
	if err == nil {
		l.kept = l.kept[:0]
	}
	l.reached(ctx, err)
}

// claim begins as many attempts as there are places.
func (l *line) claim(ctx, sending context.Context) {
	free := l.cfg.Concurrency - l.flying - len(l.kept)
	if free <= 0 {
		return
	}
	claimed, err := l.cfg.Store.ClaimDeliveries(ctx, l.receiver.URL, free, l.cfg.Lease)
	l.reached(ctx, err)
	for _, d := range claimed {
		l.flying++
		go func() { l.ended <- l.attempt(sending, d) }()
	}
}

// reached tells once of an outage of Postgres, and once of its end.
func (l *line) reached(ctx context.Context, err error) {
	switch {
	case err == nil && l.away:
		l.away = false
		l.cfg.Log.Info("webhooks are sent again", "receiver", l.receiver.host)
	case err != nil && !l.away && ctx.Err() == nil:
		l.away = true
		l.cfg.Log.Error("webhooks wait for Postgres", "receiver", l.receiver.host, "error", err)
	}
}

// finish waits a while for what is under way, breaks off the rest and brings all
// of it to Postgres. What it cannot bring there is tried again by others.
func (l *line) finish(ctx context.Context, breakOff context.CancelFunc) {
	ctx = context.WithoutCancel(ctx)
	grace := time.AfterFunc(l.cfg.Grace, breakOff)
	defer grace.Stop()
	for l.flying > 0 {
		l.keep(<-l.ended)
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Grace)
	defer cancel()
	l.settle(ctx)
}

// attempt makes one attempt and says what came of it.
func (l *line) attempt(ctx context.Context, d persist.Delivery) persist.Attempt {
	began := time.Now()
	err := l.post(ctx, d.Event)
	took := time.Since(began)
	a := persist.Attempt{Delivery: d.ID, Number: d.Attempts, State: persist.DeliveryDone}
	result := resultDelivered
	refused := (*refusal)(nil)
	switch {
	case err == nil:
	case ctx.Err() != nil: // this sender ends: for another one, at once
		a.State, a.Void, a.Error = persist.DeliveryWaiting, true, d.Error
		return a
	case d.Attempts >= l.cfg.Tries, errors.As(err, &refused) && refused.status == http.StatusGone:
		a.State, result = persist.DeliveryDead, resultDead
	default:
		a.State, result = persist.DeliveryWaiting, resultFailed
		a.Wait = l.pause(d.Attempts, refused)
		if errors.Is(err, ErrForbidden) {
			result = resultForbidden
		}
	}
	if err != nil {
		a.Error = sentence(err)
	}
	l.metrics.attempts.WithLabelValues(l.receiver.host, result).Inc()
	l.metrics.seconds.WithLabelValues(l.receiver.host).Observe(took.Seconds())
	if result == resultDead {
		l.cfg.Log.Error("an event was given up: the receiver did not take it",
			"receiver", l.receiver.host, "event", d.Event.ID, "delivery", d.ID, "attempts", d.Attempts, "error", a.Error)
	}
	return a
}

// pause is how long to wait after so many tries, or as the receiver asks.
func (l *line) pause(tries int, refused *refusal) time.Duration {
	pause := l.cfg.RetryFirst
	for range tries - 1 {
		if pause = 3 * pause; pause >= l.cfg.RetryMost {
			break
		}
	}
	pause = min(pause, l.cfg.RetryMost)
	pause = pause*4/5 + rand.N(pause*2/5+1) //nolint:gosec // jitter
	if refused != nil {
		pause = max(pause, min(refused.wait, l.cfg.RetryMost))
	}
	return pause
}

// maxError is the most bytes of an error that are kept.
const maxError = 300

// sentence is an error as Postgres can hold it.
func sentence(err error) string {
	text := strings.ReplaceAll(strings.ToValidUTF8(err.Error(), "?"), "\x00", "?")
	if errors.Is(err, context.DeadlineExceeded) {
		text = "no answer in time"
	}
	return strings.ToValidUTF8(text[:min(len(text), maxError)], "")
}
