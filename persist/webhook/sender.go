// Package webhook tells receivers over HTTP what the outbox in Postgres holds:
// signed as Standard Webhooks say, each event at least once.
package webhook

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/holdfast/holdfast/persist"
)

// Config configures a Sender.
type Config struct {
	// Store has the outbox. Required.
	Store *persist.Store
	// Receivers are sent to. Required.
	Receivers []Receiver
	// Secrets sign, each as whsec_ and base64 of 24 to 64 bytes. With several a
	// message has a signature of each, so that receivers can change from one to
	// another. Required.
	Secrets []string
	// Allow has the networks that may be sent to although they are private, and
	// the only ones that may be sent to without TLS. Defaults to none.
	Allow []netip.Prefix
	// Roots are the authorities that a receiver's certificate may come from.
	// Defaults to the system's.
	Roots *x509.CertPool
	// Timeout bounds one attempt: address, connection, request and answer.
	// Defaults to 10 s.
	Timeout time.Duration
	// Concurrency is the most attempts under way to one receiver. Defaults to 16.
	Concurrency int
	// Tries is how often an event is tried with one receiver before it is given
	// up. Defaults to 16.
	Tries int
	// RetryFirst is the wait after the first try; it triples with each, up to
	// RetryMost. A fifth is added or taken away at random. Defaults to 5 s.
	RetryFirst time.Duration
	// RetryMost is the longest wait. Defaults to 10 h, which makes three days
	// of 16 tries.
	RetryMost time.Duration
	// Poll is how often a receiver with nothing under way is looked after.
	// Defaults to 500 ms.
	Poll time.Duration
	// Lease is after how long others may try what a sender has begun and not
	// finished. Defaults to twice the Timeout.
	Lease time.Duration
	// Grace is how long attempts under way may go on when Run has to end.
	// Defaults to 1 s.
	Grace time.Duration
	// KeepDelivered is how long events are kept that all have heard of.
	// Defaults to 72 h.
	KeepDelivered time.Duration
	// KeepDead is how long deliveries are kept that were given up. Defaults to
	// 30 days.
	KeepDead time.Duration
	// Abandon is after how long what waits for a receiver that is not configured
	// any more is given up. Defaults to 72 h.
	Abandon time.Duration
	// Watch is how often the backlog is measured. Defaults to 15 s.
	Watch time.Duration
	// Tidy is how often what need not be kept is removed. Defaults to 1 min.
	Tidy time.Duration
	// Log gets deliveries that are given up, and outages. Defaults to slog.Default().
	Log *slog.Logger
	// Metrics gets the sender's metrics. Defaults to none being registered.
	Metrics prometheus.Registerer
}

func (c *Config) defaults() error {
	if c.Store == nil || len(c.Receivers) == 0 || len(c.Secrets) == 0 {
		return errors.New("webhook: Config.Store, Receivers and Secrets are required")
	}
	for _, d := range []struct {
		set       *time.Duration
		otherwise time.Duration
	}{
		{&c.Timeout, 10 * time.Second},
		{&c.RetryFirst, 5 * time.Second},
		{&c.RetryMost, 10 * time.Hour},
		{&c.Poll, 500 * time.Millisecond},
		{&c.Grace, time.Second},
		{&c.KeepDelivered, 72 * time.Hour},
		{&c.KeepDead, 30 * 24 * time.Hour},
		{&c.Abandon, 72 * time.Hour},
		{&c.Watch, 15 * time.Second},
		{&c.Tidy, time.Minute},
	} {
		if *d.set <= 0 {
			*d.set = d.otherwise
		}
	}
	if c.Lease <= 0 {
		c.Lease = 2 * c.Timeout
	}
	if c.Concurrency <= 0 {
		c.Concurrency = 16
	}
	if c.Tries <= 0 {
		c.Tries = 16
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	return nil
}

// Sender brings what the outbox holds to the receivers. Any number may work on
// the same outbox. One that dies leaves nothing undone: others try again what it
// had under way once its Lease is over.
type Sender struct {
	cfg     Config
	signers []*standardwebhooks.Webhook
	metrics *metrics
}

// New makes a Sender that is not running yet.
func New(cfg Config) (*Sender, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	s := &Sender{cfg: cfg}
	for _, secret := range cfg.Secrets {
		if err := CheckSecret(secret); err != nil {
			return nil, err
		}
		signer, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return nil, fmt.Errorf("webhook: %w", err)
		}
		s.signers = append(s.signers, signer)
	}
	if err := CheckReceivers(cfg.Receivers, len(cfg.Allow) > 0); err != nil {
		return nil, err
	}
	var err error
	s.metrics, err = newMetrics(cfg.Metrics, cfg.Receivers)
	return s, err
}

// Run sends until ctx ends, and then finishes or gives back what is under way,
// which takes little more than Config.Grace. Call it once.
func (s *Sender) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, r := range s.cfg.Receivers {
		l := s.line(r)
		running.Go(func() { l.run(ctx) })
	}
	running.Go(func() { s.keep(ctx) })
	running.Wait()
}
