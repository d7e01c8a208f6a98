package webhook

import (
	"context"
	"time"
)

// tidyRounds is how many steps of tidying are done at a time: so the rest of the
// database gets its turn.
const tidyRounds = 100

// keep measures the outbox and removes what need not be kept, until ctx ends.
// What fails is done the next time: the lines tell of outages.
func (s *Sender) keep(ctx context.Context) {
	watch, tidy := time.NewTicker(s.cfg.Watch), time.NewTicker(s.cfg.Tidy)
	defer watch.Stop()
	defer tidy.Stop()
	s.watch(ctx)
	for {
		select {
		case <-watch.C:
			s.watch(ctx)
		case <-tidy.C:
			s.tidy(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (s *Sender) watch(ctx context.Context) {
	if counts, err := s.cfg.Store.DeliveryCounts(ctx); err == nil {
		s.metrics.counted(s.cfg.Receivers, counts)
	}
}

func (s *Sender) tidy(ctx context.Context) {
	urls := make([]string, len(s.cfg.Receivers))
	for i, r := range s.cfg.Receivers {
		urls[i] = r.URL
	}
	for range tidyRounds {
		abandoned, err := s.cfg.Store.AbandonDeliveries(ctx, urls, s.cfg.Abandon)
		if err != nil {
			return
		}
		if abandoned > 0 {
			s.cfg.Log.Error("events were given up: their receiver is not configured any more", "deliveries", abandoned)
		}
		forgotten, err := s.cfg.Store.ForgetEvents(ctx, s.cfg.KeepDelivered, s.cfg.KeepDead)
		if err != nil || abandoned == 0 && forgotten == 0 {
			return
		}
	}
}
