package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// The end of an instance, in order, so that nobody is sent to one that is
// leaving and nothing is acknowledged that is not kept:
//
//  1. /readyz answers 503, and for HOLDFAST_STOP_GRACE all is served as before,
//     until the balancers have seen it
//  2. the listener accepts what waits, and closes
//  3. live connections are closed with 1001
//  4. the requests under way are answered
//  5. the combiner's calls to Redis return
//  6. expirer and reconciler return
//  7. the writer brings to Postgres what is in the ledger, and stops
//
// Steps 2 to 7 take at most stopTimeout, also when a store is frozen. A second
// signal ends the process wherever it is.

const (
	stopTimeout    = 5 * time.Second
	requestTimeout = 2 * time.Second // of it, for steps 2 to 4
	flushTimeout   = 2 * time.Second // of it, to empty the ledger
	maxGrace       = 5 * time.Minute
)

// stopFlags say how an instance leaves.
type stopFlags struct {
	Grace time.Duration `name:"stop-grace" env:"HOLDFAST_STOP_GRACE" default:"0s" help:"How long to serve on after SIGTERM, while /readyz answers 503, so that load balancers send nobody here any more: a little more than they take to see it."`
}

func (f stopFlags) validate() error {
	if f.Grace < 0 || f.Grace > maxGrace {
		return fmt.Errorf("HOLDFAST_STOP_GRACE (--stop-grace): %v is not in 0s … %v", f.Grace, maxGrace)
	}
	return nil
}

// wait serves until ctx ends or something fails (the API, or what died tells
// of), then stops in order.
func (in *instance) wait(ctx context.Context, died <-chan error) error {
	var err error
	select {
	case <-ctx.Done():
		in.stores.log.Info("stopping", "grace", in.stopping.Grace)
		err = in.linger(died)
	case err = <-in.failed:
	case err = <-died:
	}
	began := time.Now()
	err = errors.Join(err, in.stop())
	in.stores.log.Info("stopped", "took", time.Since(began).Round(time.Millisecond))
	return err
}

// linger serves on for the grace, unready.
func (in *instance) linger(died <-chan error) error {
	in.api.Unready()
	grace := time.NewTimer(in.stopping.Grace)
	defer grace.Stop()
	select {
	case <-grace.C:
		return nil
	case err := <-in.failed:
		return err
	case err := <-died:
		return err
	}
}

// stop ends in order, all within stopTimeout. It may be called on an instance
// that is half started.
func (in *instance) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := in.stopAPI(ctx)
	// What calls of buyers are left has no answer waiting for it.
	if !within(ctx, in.stores.engine.Stop) {
		in.stores.log.Warn("a call of the combiner has not returned")
	}
	if in.stopBackground != nil {
		in.stopBackground()
	}
	if !within(ctx, in.background.Wait) {
		in.stores.log.Warn("a call to Redis has not returned")
	}
	if in.writer != nil {
		in.flush(ctx)
		// A read of a frozen Redis ends with its connection alone.
		unblock := context.AfterFunc(ctx, func() { _ = in.ledgerClient.Close() })
		defer unblock()
		if err := in.writer.Stop(ctx); err != nil {
			in.stores.log.Warn("the writer was stopped in the middle of a batch; its entries wait in Redis", "err", err)
		}
	}
	if in.ledgerClient != nil {
		_ = in.ledgerClient.Close() // nothing is under way on it any more
	}
	return err
}

// stopAPI closes the listeners, then the live connections, and waits for the
// requests under way.
func (in *instance) stopAPI(ctx context.Context) error {
	if in.api != nil {
		step, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		if err := in.api.Shutdown(step); err != nil {
			// A connection that says nothing keeps no promise waiting.
			in.stores.log.Warn("connections were closed that had no answer yet", "err", err)
		}
	}
	if in.challenge != nil {
		in.challenge.Close()
	}
	var errs []error
	for _, l := range []net.Listener{in.listener, in.back} {
		if l == nil {
			continue
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) { // open where Shutdown came before Serve
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// within does what has no limit of its own, and tells whether that was done in
// time. A Redis that is frozen can keep a call past ctx: the process ends then
// all the same.
func within(ctx context.Context, do func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// flush waits until the purchases so far are in Postgres. What is left when its
// time is up waits in Redis for another writer or the next start, which is no error.
func (in *instance) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	tell := in.flushing
	if tell == nil {
		tell = func(left int64) { in.stores.log.Info("bringing to Postgres what is in the ledger", "entries", left) }
	}
	if err := in.writer.Drain(ctx, tell); err != nil {
		in.stores.log.Info("entries that are not in Postgres yet wait in Redis", "err", err)
	}
}
