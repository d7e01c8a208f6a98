package loadtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast/holdfast/cmd/load"
)

// auditTime bounds the audit, which is also made of a test that was cut short.
const auditTime = time.Minute

// Run makes a load test and audits it. When ctx is done the buyers leave at
// once, and what they did is audited all the same. The error says that the test
// could not be made; a verdict that is no is none.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := newShop(cfg.URL, cfg.AdminToken)
	defer s.close()
	screen := &screen{to: cfg.Progress, redraw: cfg.Redraw}
	before, err := wanted(ctx, s, &cfg, screen)
	if err != nil {
		return nil, err
	}
	users := make([]int64, cfg.Buyers)
	if cfg.Scenario.buys() {
		if users, err = people(ctx, cfg.URL, cfg.Buyers); err != nil {
			return nil, err
		}
		screen.linef("%s buyers are known to the server.", grouped(int64(cfg.Buyers)))
	}
	var watching *audience
	if cfg.Watchers > 0 {
		if watching, err = watch(ctx, cfg.URL, before.ID, cfg.Watchers); err != nil {
			return nil, tooManyWatchers(err)
		}
		defer watching.leave()
		screen.linef("%s watchers are connected.", grouped(int64(cfg.Watchers)))
	}
	buyers, err := newBuyers(before, users)
	if err != nil {
		return nil, err
	}
	calls, err := newCalls(cfg.URL, before.ID)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	v := &visits{calls: calls, drop: before.ID, buyers: buyers, memory: newMemory(stop)}
	began := time.Now()
	sampling := sample(ctx, s, before, cfg.Duration)
	loop := cfg.loop(v.step(cfg.Scenario))
	loop.Progress = func(elapsed time.Duration, visits map[load.Outcome]int64) { screen.progress(elapsed, visits, sampling) }
	result, err := load.Run(running, loop)
	sampling.end()
	screen.end()
	if v.memory.left.Load() <= 0 {
		screen.linef("The buyers left early: %s reservations are as many as can be audited.", grouped(maxTold))
	}
	if err != nil {
		return nil, err
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTime)
	defer cancel()
	a := &auditor{
		shop: s, books: closeBooks(buyers), buyers: buyers, result: result, own: cfg.Drop == 0,
		before: before, sampler: sampling, audience: watching,
	}
	if err := a.audit(ctx); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return newReport(&cfg, began, a), nil
}

// wanted is the drop that buyers want, as it is before they come.
func wanted(ctx context.Context, s *shop, cfg *Config, screen *screen) (d drop, err error) {
	if cfg.Drop == 0 {
		if d, err = s.open(ctx, cfg.Stock, cfg.Duration); err != nil {
			return d, unreached(cfg.URL, err)
		}
		screen.linef("Drop %d is open, with %s units.", d.ID, grouped(d.Total))
		return d, nil
	}
	if d, err = s.drop(ctx, cfg.Drop); err != nil {
		return d, unreached(cfg.URL, err)
	}
	screen.linef("Drop %d, %s: %s of %s units are available.", d.ID, d.Name, grouped(d.Available), grouped(d.Total))
	return d, nil
}

// unreached says what to look at where nobody answers.
func unreached(url string, err error) error {
	var answered *refusal
	if errors.As(err, &answered) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: does Holdfast run at %s (--url)?", err, url)
}
