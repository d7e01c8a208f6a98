package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

type seedCommand struct {
	storeFlags
	Users int `env:"HOLDFAST_SEED_USERS" default:"100" help:"How many sample people there should be."`
}

// Help is shown by --help.
func (*seedCommand) Help() string {
	return `Adds three sample drops (one live now, one sold by size, one that starts in two minutes) where the catalogue is empty, and people sample1@example.com, sample2@example.com, …; those that are there already stay as they are, so it may be repeated.`
}

// Run seeds.
func (c *seedCommand) Run(ctx context.Context, log *slog.Logger) error {
	if err := c.validate(); err != nil {
		return err
	}
	s, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.seedDrops(ctx); err != nil {
		return err
	}
	created, err := s.seedUsers(ctx, c.Users)
	if err != nil {
		return err
	}
	fmt.Printf("%d people added, %d were there.\n", created, c.Users-created)
	return nil
}

// sampleUsers is how many people dev adds.
const sampleUsers = 100

// seedIfEmpty adds the samples to an empty catalogue.
func (s *stores) seedIfEmpty(ctx context.Context) error {
	if err := s.seedDrops(ctx); err != nil {
		return err
	}
	_, err := s.seedUsers(ctx, sampleUsers)
	return err
}

// seedDrops adds the sample drops where there is no drop yet.
func (s *stores) seedDrops(ctx context.Context) error {
	if err := s.recon.Settle(ctx); err != nil {
		return err
	}
	have, err := s.store.ListDrops(ctx, persist.ListQuery{Limit: 1})
	if err != nil || len(have) > 0 {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	for _, n := range []persist.NewDrop{
		{
			Name: "Air Runner '26", PriceMinor: 180_00, Start: now, Hold: time.Minute,
			Sizes: []engine.SizeStock{{Stock: 100}},
		},
		{
			Name: "Court Classic Low", PriceMinor: 129_95, Start: now, Hold: time.Minute, Limit: 2,
			Sizes: []engine.SizeStock{
				{Size: "US 8", Stock: 10}, {Size: "US 9", Stock: 20}, {Size: "US 10", Stock: 20}, {Size: "US 11", Stock: 5},
			},
		},
		{
			Name: "Night Trail Limited", PriceMinor: 240_00, Start: now.Add(2 * time.Minute), Hold: time.Minute, Limit: 1,
			Sizes: []engine.SizeStock{{Stock: 50}},
		},
	} {
		d, err := s.store.CreateDrop(ctx, n)
		if err != nil {
			return err
		}
		if err := s.engine.Open(ctx, d.Terms(1)); err != nil {
			return fmt.Errorf("drop %d: %w", d.ID, err)
		}
		if err := s.store.MarkOpened(ctx, d.ID); err != nil {
			return err
		}
		fmt.Printf("Sample drop %d: %s, %d units, starts %s\n", d.ID, d.Name, d.TotalStock, d.Start.Format(time.RFC3339))
	}
	return nil
}

// seedUsers adds sample people, showing progress when that takes long.
func (s *stores) seedUsers(ctx context.Context, n int) (created int, err error) {
	if n <= 0 {
		return 0, nil
	}
	started, shown := time.Now(), false
	created, err = s.users.Seed(ctx, n, func(done int) {
		if time.Since(started) > time.Second {
			shown = true
			fmt.Printf("\rAdding people: %d of %d … ", done, n)
		}
	})
	if shown {
		fmt.Println()
	}
	return created, err
}
