package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast/holdfast/api/fair"
	"github.com/holdfast/holdfast/engine"
)

// fairFlags say what one caller may take of what is there for all.
type fairFlags struct {
	FairUse            string               `env:"HOLDFAST_FAIR_USE" enum:",on,off" default:"" placeholder:"on|off" help:"Limits of one address and one person, on unless you run dev: on or off."`
	TrustedProxies     []string             `env:"HOLDFAST_TRUSTED_PROXIES" placeholder:"NETWORK" help:"Proxies in front whose X-Forwarded-For is believed: addresses, or networks such as 10.0.0.0/8."`
	LimitsPerAddress   map[string]fair.Rate `env:"HOLDFAST_LIMITS_PER_ADDRESS" mapsep:"," placeholder:"CALL=RATE" help:"Limits of one address that differ from the usual, such as reserve=20/100,read=off: calls a second and the burst; of reserve, purchase, cancel, read, socket, connect."`
	LimitsPerUser      map[string]fair.Rate `env:"HOLDFAST_LIMITS_PER_USER" mapsep:"," placeholder:"CALL=RATE" help:"The same of one person: of reserve, purchase, cancel, read. All but reserve count where tokens say who calls."`
	MaxConnsPerAddress int                  `env:"HOLDFAST_MAX_CONNS_PER_ADDRESS" default:"1000" help:"Connections of one address at once, but of trusted proxies; 0: any number."`
	MaxHoldsPerUser    int64                `env:"HOLDFAST_MAX_HOLDS_PER_USER" default:"10" help:"Units that one person may hold at once, over all drops, up to 1000; 0: any number."`
	CooldownLapses     int64                `env:"HOLDFAST_COOLDOWN_LAPSES" default:"10" help:"Holds that a person may let lapse within the cool-down before they get no more, up to 1000; 0: any number."`
	Cooldown           time.Duration        `env:"HOLDFAST_COOLDOWN" default:"10m" help:"For how long a hold that was let lapse counts."`
	ChallengeURL       string               `env:"HOLDFAST_CHALLENGE_URL" placeholder:"URL" help:"Verifier of challenge tokens, by the siteverify form; drops may demand one then."`
	ChallengeSecret    string               `env:"HOLDFAST_CHALLENGE_SECRET" secret:"" placeholder:"SECRET" help:"Secret that the verifier knows this site by."`
	ChallengeDown      string               `env:"HOLDFAST_CHALLENGE_DOWN" enum:"refuse,admit" default:"refuse" help:"What becomes of who brings a token while the verifier is down: refuse or admit."`
	ChallengeTimeout   time.Duration        `env:"HOLDFAST_CHALLENGE_TIMEOUT" default:"3s" help:"How long the verifier may take."`
}

func (f fairFlags) validate() error {
	var errs []error
	if _, err := fair.ParseProxies(f.TrustedProxies); err != nil {
		errs = append(errs, fmt.Errorf("HOLDFAST_TRUSTED_PROXIES (--trusted-proxies): %w", err))
	}
	if _, err := fair.AddressLimits().With(f.LimitsPerAddress); err != nil {
		errs = append(errs, fmt.Errorf("HOLDFAST_LIMITS_PER_ADDRESS (--limits-per-address): %w", err))
	}
	if _, err := fair.UserLimits().With(f.LimitsPerUser); err != nil {
		errs = append(errs, fmt.Errorf("HOLDFAST_LIMITS_PER_USER (--limits-per-user): %w", err))
	}
	for _, class := range []fair.Class{fair.Socket, fair.Connect} {
		if _, ok := f.LimitsPerUser[class.String()]; ok {
			errs = append(errs, fmt.Errorf("HOLDFAST_LIMITS_PER_USER (--limits-per-user): %s counts by address alone, for it brings no token", class))
		}
	}
	for name, v := range map[string]struct{ n, most int64 }{
		"HOLDFAST_MAX_CONNS_PER_ADDRESS (--max-conns-per-address)": {int64(f.MaxConnsPerAddress), 1_000_000},
		"HOLDFAST_MAX_HOLDS_PER_USER (--max-holds-per-user)":       {f.MaxHoldsPerUser, engine.MaxPerPerson},
		"HOLDFAST_COOLDOWN_LAPSES (--cooldown-lapses)":             {f.CooldownLapses, engine.MaxPerPerson},
	} {
		if v.n < 0 || v.n > v.most {
			errs = append(errs, fmt.Errorf("%s: %d is not in 0 … %d", name, v.n, v.most))
		}
	}
	if f.Cooldown < time.Second || f.Cooldown > 7*24*time.Hour {
		errs = append(errs, fmt.Errorf("HOLDFAST_COOLDOWN (--cooldown): %v is not in 1s … 168h", f.Cooldown))
	}
	if f.ChallengeTimeout < 100*time.Millisecond || f.ChallengeTimeout > 8*time.Second {
		errs = append(errs, fmt.Errorf("HOLDFAST_CHALLENGE_TIMEOUT (--challenge-timeout): %v is not in 100ms … 8s", f.ChallengeTimeout))
	}
	switch c, err := f.challenge(nil, nil); {
	case f.ChallengeURL == "" && f.ChallengeSecret != "":
		errs = append(errs, errors.New("HOLDFAST_CHALLENGE_URL (--challenge-url) is not set, and HOLDFAST_CHALLENGE_SECRET is"))
	case err != nil:
		errs = append(errs, fmt.Errorf("HOLDFAST_CHALLENGE_URL, HOLDFAST_CHALLENGE_SECRET: %w", err))
	case c != nil:
		c.Close()
	}
	return errors.Join(errs...)
}

// fairUse is what the flags come to; a command says what holds where they say
// nothing.
type fairUse struct {
	on    bool
	flags fairFlags
}

func (f fairFlags) use(otherwise bool) fairUse {
	if f.FairUse == "" {
		return fairUse{otherwise, f}
	}
	return fairUse{f.FairUse == "on", f}
}

func (u fairUse) String() string {
	if u.on {
		return "on"
	}
	return "off"
}

// limitPeople sets the limits of people that hold over all drops.
func (u fairUse) limitPeople(c *engine.Config) {
	if u.on {
		c.MaxHoldsPerUser, c.CooldownLapses, c.Cooldown = u.flags.MaxHoldsPerUser, u.flags.CooldownLapses, u.flags.Cooldown
	}
}

// guard is nil while fair use is off. The flags were validated.
func (u fairUse) guard(reg prometheus.Registerer) *fair.Guard {
	if !u.on {
		return nil
	}
	address, _ := fair.AddressLimits().With(u.flags.LimitsPerAddress)
	user, _ := fair.UserLimits().With(u.flags.LimitsPerUser)
	return fair.New(fair.Config{Address: address, User: user, MaxConns: u.flags.MaxConnsPerAddress, Metrics: reg})
}

// proxies are believed whether fair use is on or off.
func (u fairUse) proxies() fair.Proxies {
	p, _ := fair.ParseProxies(u.flags.TrustedProxies)
	return p
}

// challenge is nil without a verifier.
func (f fairFlags) challenge(log *slog.Logger, reg prometheus.Registerer) (*fair.Challenge, error) {
	if f.ChallengeURL == "" {
		return nil, nil //nolint:nilnil // no verifier is no error
	}
	return fair.NewChallenge(fair.ChallengeConfig{
		URL: f.ChallengeURL, Secret: f.ChallengeSecret, AdmitWhenDown: f.ChallengeDown == "admit",
		Timeout: f.ChallengeTimeout, Log: log, Metrics: reg,
	})
}
