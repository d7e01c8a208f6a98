package loadtest

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/holdfast/holdfast/cmd/load"
)

// Scenario says what buyers do, again and again.
type Scenario string

// The scenarios.
const (
	Reserve  Scenario = "reserve"  // hold a unit
	Checkout Scenario = "checkout" // hold a unit and buy it; some let it go
	SoldOut  Scenario = "soldout"  // want one of very few units
	Browse   Scenario = "browse"   // look at the list, and at the drop
	Mixed    Scenario = "mixed"    // most look, some buy, some let go
)

// Limits of a load test.
const (
	MaxBuyers   = 10_000
	MaxWatchers = 10_000
	MaxRate     = 100_000 // arrivals a second
	MinDuration = 100 * time.Millisecond
	MaxDuration = time.Hour
	MaxStock    = 1 << 24 // units of one drop, as the API allows
)

// Config says what a load test does.
type Config struct {
	// URL is the base address of the instance, or of the proxy before several.
	URL string
	// AdminToken is the instance's, to create a drop with. Defaults to none: either
	// Drop is given, or the instance lets everybody create drops.
	AdminToken string
	// Scenario is what buyers do. Defaults to Checkout.
	Scenario Scenario
	// Buyers is how many people there are, each with a connection of its own.
	// Defaults to 64.
	Buyers int
	// Rate is how many come a second, whether or not those before have been
	// served. Defaults to 0: each buyer comes again once it has been served.
	Rate float64
	// Duration is how long buyers come. Defaults to 10 s.
	Duration time.Duration
	// Drop is the drop that they want. Defaults to 0: one is created.
	Drop int64
	// Stock is how many units a drop has that is created. Defaults to 100 for
	// SoldOut, else to more than can be sold in the time.
	Stock int64
	// Watchers is how many WebSockets follow the drop meanwhile. Defaults to 0.
	Watchers int
	// Progress is where to say how it goes. Defaults to nowhere.
	Progress io.Writer
	// Redraw says that Progress is a terminal, where one line is drawn again and
	// again. Defaults to a line each second.
	Redraw bool
}

func (cfg *Config) complete() error {
	if cfg.Scenario == "" {
		cfg.Scenario = Checkout
	}
	if cfg.Buyers == 0 {
		cfg.Buyers = 64
	}
	if cfg.Duration == 0 {
		cfg.Duration = 10 * time.Second
	}
	if cfg.Stock == 0 {
		cfg.Stock = defaultStock(cfg.Scenario, cfg.Duration)
	}
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	for _, check := range []struct {
		wrong bool
		says  string
	}{
		{cfg.Buyers < 1 || cfg.Buyers > MaxBuyers, fmt.Sprintf("buyers must be 1 to %d", MaxBuyers)},
		{cfg.Rate < 0 || cfg.Rate > MaxRate, fmt.Sprintf("rate must be 0 to %d a second", MaxRate)},
		{cfg.Duration < MinDuration || cfg.Duration > MaxDuration, fmt.Sprintf("duration must be %v to %v", MinDuration, MaxDuration)},
		{cfg.Drop < 0, "drop must be the id of a drop, or 0"},
		{cfg.Stock < 1 || cfg.Stock > MaxStock, fmt.Sprintf("stock must be 1 to %d", MaxStock)},
		{cfg.Watchers < 0 || cfg.Watchers > MaxWatchers, fmt.Sprintf("watchers must be 0 to %d", MaxWatchers)},
	} {
		if check.wrong {
			return errors.New(check.says)
		}
	}
	switch cfg.Scenario {
	case Reserve, Checkout, SoldOut, Browse, Mixed:
	default:
		return fmt.Errorf("no such scenario: %q", cfg.Scenario)
	}
	_, err := load.ParseURL(cfg.URL)
	return err
}

func defaultStock(s Scenario, d time.Duration) int64 {
	const fewUnits, perSecond = 100, 100_000
	if s == SoldOut {
		return fewUnits
	}
	return min(max(perSecond, int64(d.Seconds()*perSecond)), MaxStock)
}

// buys is true where buyers of the scenario ask for units.
func (s Scenario) buys() bool { return s != Browse }

// callTimeout bounds one call of a buyer.
const callTimeout = 10 * time.Second

// ownHold is how long units of a drop of our own are held: longer than the test
// and its audit take, so that what is held at the end can be told exactly.
func ownHold(d time.Duration) time.Duration { return d + 3*time.Minute }

// loop is the load that the config describes.
func (cfg *Config) loop(step load.Step) load.Config {
	return load.Config{
		URL: cfg.URL, Workers: cfg.Buyers, Rate: cfg.Rate, Duration: cfg.Duration, Timeout: callTimeout, Step: step,
	}
}
