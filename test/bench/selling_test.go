package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast/holdfast/cmd/load"
	"github.com/holdfast/holdfast/test/harness"
)

// reserveTurn is how many reserves a second succeed on a drop with plenty.
func (s *stage) reserveTurn(c *contender, workers int) float64 {
	s.Helper()
	shop := s.shop(c, workers, plenty)
	rate := shop.rate(shop.reserve())
	shop.right(shop.won, 0)
	c.rest()
	return rate
}

// rate is how often a second the step succeeds; nothing else may come of it.
func (s *shopper) rate(step load.Step) float64 {
	s.Helper()
	s.allWon(s.run(load.Config{Duration: warmUp}, step))
	r := s.run(load.Config{Duration: s.plan.turn}, step)
	s.allWon(r)
	return r.Rate("", load.Won)
}

func (s *stage) reserveTurns(workers int, all []*contender) []turn {
	turns := make([]turn, 0, len(all))
	for _, c := range all {
		turns = append(turns, turn{c.name, func() float64 { return s.reserveTurn(c, workers) }})
	}
	return turns
}

func reservePhase(s *stage) {
	all := append([]*contender{s.baseline(ceiling, "constant"), s.deploy().serve()}, s.postgresBaselines()...)
	turns := append(s.reserveTurns(crowd, all), s.redisReserves(crowd)...)
	s.compare("reserve", "Successful reserves a second", "/s", append(turns, s.engineReserves(crowd)...))
	s.finish(all...)
}

func reserve64Phase(s *stage) {
	const few = 64
	all := append([]*contender{s.baseline(ceiling, "constant"), s.deploy().serve()}, s.postgresBaselines()...)
	s.compare("reserve64", "Successful reserves a second, 64 connections", "/s", s.reserveTurns(few, all))
	s.finish(all...)
}

// Of a drop that sells out, so many units are tried for so often.
const (
	fewUnits  = 500
	manyTries = 1500
)

// soldOutTurn sells a drop out, exactly, and is how many of those who come
// later are told so in a second.
func (s *stage) soldOutTurn(c *contender) float64 {
	s.Helper()
	units := int64(fewUnits)
	if c.constant {
		units = 1 // it says sold out from the first on
	}
	shop := s.shop(c, crowd, units)
	step := shop.reserve()
	refused := load.Outcome{Kind: load.Refused, Code: "out_of_stock"}
	r := shop.run(load.Config{Steps: manyTries}, step)
	if !c.constant && (shop.won != fewUnits || r.Count("", refused) != manyTries-fewUnits) {
		s.Errorf("%s: of %d tries for %d units: %s", c.name, manyTries, fewUnits, outcomes(r))
	}
	shop.run(load.Config{Duration: warmUp}, step)
	r = shop.run(load.Config{Duration: s.plan.turn}, step)
	if n := r.Count("", refused); n != r.Sum("").Count {
		s.Errorf("%s: of a drop that was sold out: %s", c.name, outcomes(r))
	}
	shop.right(shop.won, 0)
	c.rest()
	return r.Rate("", load.Refused)
}

func soldOutPhase(s *stage) {
	all := append([]*contender{s.baseline(ceiling, "constant"), s.deploy().serve()}, s.postgresBaselines()...)
	turns := make([]turn, 0, len(all)+1)
	for _, c := range all {
		turns = append(turns, turn{c.name, func() float64 { return s.soldOutTurn(c) }})
	}
	s.compare("soldout", "Sold-out answers a second", "/s", append(turns, s.redisSoldOut(crowd)...))
	s.finish(all...)
}

// checkoutTurn is how often a second somebody reserves a unit and purchases it.
func (s *stage) checkoutTurn(c *contender) float64 {
	s.Helper()
	shop := s.shop(c, crowd, plenty)
	rate := shop.rate(shop.checkout())
	shop.right(0, shop.won)
	c.rest()
	return rate
}

func checkoutPhase(s *stage) {
	all := append([]*contender{s.baseline(ceiling, "constant"), s.deploy().serve()}, s.postgresBaselines()...)
	all = append(all, s.baseline(groupedHalf, "grouped", "--single-purchases", "--pool", "8"))
	turns := make([]turn, 0, len(all))
	for _, c := range all {
		turns = append(turns, turn{c.name, func() float64 { return s.checkoutTurn(c) }})
	}
	s.compare("checkout", "Reserve + purchase cycles a second", "/s", turns)
	s.finish(all...)
}

// A catalogue to browse: so many drops, so many buyers of each.
const (
	shown       = 20
	buyersOfOne = 5
)

// catalogue opens the drops and sells of each, and gives the answer to
// GET /api/drops once it shows that.
func (s *stage) catalogue(c *contender) []byte {
	s.Helper()
	for range shown {
		shop := s.shop(c, 1, 100)
		shop.run(load.Config{Steps: buyersOfOne}, shop.checkout())
		shop.right(0, buyersOfOne)
	}
	var body []byte
	harness.Eventually(s, 20*time.Second, func() error {
		body = s.get(c.process.URL + "/api/drops")
		return shows(body, 100-buyersOfOne)
	})
	return body
}

// shows checks a list of drops.
func shows(body []byte, available int) error {
	var drops []struct {
		Available int `json:"available_stock"`
		Purchases []struct{ ID int64 }
	}
	if err := json.Unmarshal(body, &drops); err != nil || len(drops) != shown {
		return fmt.Errorf("%d drops, want %d: %w", len(drops), shown, err)
	}
	for _, d := range drops {
		if d.Available != available || len(d.Purchases) != 3 {
			return fmt.Errorf("%+v, want %d available and 3 buyers", d, available)
		}
	}
	return nil
}

// browseTurn is how often a second the list of drops is answered, always right.
func (s *stage) browseTurn(c *contender, want []byte) float64 {
	s.Helper()
	shop := &shopper{stage: s, c: c, ids: make([][]int64, crowd)}
	call := shop.call("GET", "/api/drops")
	step := func(w *load.Worker) load.Outcome {
		a := w.Do(call, nil)
		if a.Kind == load.Won && !bytes.Equal(a.Body, want) {
			return load.Outcome{Kind: load.Failed, Code: "another answer"}
		}
		return a.Outcome
	}
	return shop.rate(step)
}

func browsePhase(s *stage) {
	main := s.deploy().serve()
	list := s.catalogue(main)
	file := filepath.Join(s.TempDir(), "list.json")
	check(s.B, os.WriteFile(file, list, 0o600))
	constant := s.baseline(ceiling, "constant", "--list", file) // the very same bytes
	turns := append(make([]turn, 0, 5),
		turn{ceiling, func() float64 { return s.browseTurn(constant, list) }},
		turn{holdfast, func() float64 { return s.browseTurn(main, list) }})
	for _, c := range s.postgresBaselines() {
		want := s.catalogue(c)
		turns = append(turns, turn{c.name, func() float64 { return s.browseTurn(c, want) }})
	}
	s.compare("browse", fmt.Sprintf("GET /api/drops a second, %d drops", shown), "/s", turns)

	// What is read from memory must not stay there: one more of each is sold.
	drops := []struct{ ID int64 }{}
	check(s.B, json.Unmarshal(list, &drops))
	for _, d := range drops {
		shop := &shopper{stage: s, c: main, drop: d.ID, ids: make([][]int64, 1)}
		shop.run(load.Config{Steps: 1}, shop.checkout())
	}
	harness.Eventually(s, 2*time.Second, func() error { return shows(s.get(main.process.URL+"/api/drops"), 100-buyersOfOne-1) })
	s.finish(main)
}
