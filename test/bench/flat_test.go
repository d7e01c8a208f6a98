package bench

import (
	"fmt"
	"sync"
	"time"

	"github.com/holdfast/holdfast/cmd/load"
)

// The lines of the phases below.
const (
	fresh        = "1 drop, no holds, nothing sold"
	twoInstances = "… served by two instances"
	withDrops    = "10,000 open drops"
	withHolds    = "500,000 live holds"
	withSold     = "a drop that has sold 1,000,000"
)

// flatPhase measures whether work that is there already slows a sale, against a
// deployment that is fresh each round.
func flatPhase(s *stage) {
	const manyDrops, manyHolds, manySold = 10_000, 500_000, 1_000_000
	filled := func(fill func(f *filler)) *contender {
		s.Helper()
		d := s.deploy()
		f := d.filler()
		fill(f)
		f.close()
		return d.serve()
	}
	drops := filled(func(f *filler) { f.openAll(manyDrops, 100, time.Hour) })
	holds := filled(func(f *filler) { f.hold(f.openAll(partitions, manyHolds, time.Hour), manyHolds) })
	var soldDrop int64
	sold := filled(func(f *filler) {
		soldDrop = must(f.open(plenty, time.Hour))
		f.sold(soldDrop, manySold)
	})

	var first, second *contender
	renew := func() {
		s.Helper()
		if first != nil {
			first.audit()
			first.process.Kill()
			second.process.Kill()
		}
		d := s.deploy()
		first, second = d.serve(), d.serve()
	}
	s.compare("flat", "Successful reserves a second, by what is there already", "/s", []turn{
		{fresh, func() float64 { renew(); return s.reserveTurn(first, crowd) }},
		{twoInstances, func() float64 { return s.sharedTurn(first, second) }},
		{withDrops, func() float64 { return s.reserveTurn(drops, crowd) }},
		{withHolds, func() float64 { return s.reserveTurn(holds, crowd) }},
		{withSold, func() float64 {
			shop := s.shopAt(sold, soldDrop, crowd)
			rate := shop.rate(shop.reserve())
			shop.right(shop.won, 0)
			return rate
		}},
	})
	s.compare("flat-checkout", "Reserve + purchase cycles a second, by what was sold already", "/s", []turn{
		{fresh, func() float64 { renew(); return s.checkoutTurn(first) }},
		{withSold, func() float64 {
			shop := s.shopAt(sold, soldDrop, crowd)
			rate := shop.rate(shop.checkout())
			shop.right(0, shop.won)
			sold.rest()
			return rate
		}},
	})
	s.finish(first, drops, holds, sold)
}

// sharedTurn is reserveTurn with half of the connections to each instance of a
// deployment.
func (s *stage) sharedTurn(a, b *contender) float64 {
	s.Helper()
	one := s.shop(a, crowd/2, plenty)
	two := s.shopAt(b, one.drop, crowd/2)
	var rates [2]float64
	var both sync.WaitGroup
	for i, shop := range []*shopper{one, two} {
		step := shop.reserve()
		both.Go(func() { rates[i] = shop.rate(step) })
	}
	both.Wait()
	one.ids, one.won = append(one.ids, two.ids...), one.won+two.won
	one.right(one.won, 0)
	a.rest()
	return rates[0] + rates[1]
}

// clusterPhase sells many drops at once, whose partitions are spread over a
// cluster's masters. On few cores more masters are no faster: what it shows is
// that they cost nothing.
func clusterPhase(s *stage) {
	names := []string{"1 master", "2 masters", "3 masters"}
	turns, all := make([]turn, 0, len(names)), make([]*contender, 0, len(names))
	for i, name := range names {
		c := s.deployOnCluster(i + 1).serve()
		c.name = name
		all = append(all, c)
		turns = append(turns, turn{c.name, func() float64 { return s.spreadTurn(c) }})
	}
	s.compare("cluster", fmt.Sprintf("Successful reserves a second of %d drops, Redis Cluster without replicas", partitions), "/s", turns)
	s.finish(all...)
}

// spreadTurn is how many reserves a second succeed, over a drop of each partition.
func (s *stage) spreadTurn(c *contender) float64 {
	s.Helper()
	shops := make([]*shopper, partitions)
	steps := make([]load.Step, partitions)
	for i := range shops {
		shops[i] = s.shop(c, crowd, plenty)
		steps[i] = shops[i].reserve()
	}
	rate := shops[0].rate(func(w *load.Worker) load.Outcome { return steps[w.N%partitions](w) })
	for _, shop := range shops {
		shop.won = 0 // the first has counted for all
		for _, ids := range shop.ids {
			shop.won += int64(len(ids))
		}
		shop.right(shop.won, 0)
	}
	c.rest()
	return rate
}
