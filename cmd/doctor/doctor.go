// Package doctor looks at a deployment before it is relied on: the versions,
// settings, rights, clocks and shape of its Redis and its Postgres, and says how
// each that is wrong is mended. It changes nothing that is a sale's.
package doctor

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// Config is what a Doctor is made of.
type Config struct {
	// Engine reaches Redis; it need not be started. Required.
	Engine *engine.Engine
	// Store reaches Postgres. Required.
	Store *persist.Store
	// Skew is added to this machine's clock, for tests. Defaults to 0.
	Skew time.Duration
}

// Doctor looks at one deployment.
type Doctor struct{ cfg Config }

// New makes a Doctor.
func New(cfg Config) (*Doctor, error) {
	if cfg.Engine == nil || cfg.Store == nil {
		return nil, errors.New("doctor: Engine and Store are required")
	}
	return &Doctor{cfg}, nil
}

// Examine looks at everything. What cannot be asked is a finding, not an error.
func (d *Doctor) Examine(ctx context.Context) *Report {
	r := &Report{}
	d.examineRedis(ctx, r)
	d.examinePostgres(ctx, r)
	return r
}

// From how far apart clocks are told of, and do harm. Redis's decides every start and
// deadline; the others show in tokens, certificates, logs and reports.
const (
	skewTold  = 500 * time.Millisecond
	skewHarms = 5 * time.Second
)

// clock compares a server's clock with this machine's; half of the call's time
// is not known.
func (d *Doctor) clock(r *Report, check, server string, theirs, asked time.Time, trip time.Duration) {
	skew := theirs.Sub(asked.Add(d.cfg.Skew))
	apart := max(skew.Abs()-trip/2, 0).Round(time.Millisecond)
	const mend = "have all machines take their time from the same NTP servers (chronyc tracking, timedatectl)"
	switch {
	case apart >= skewHarms:
		r.fail(check, mend, "%s's clock is %v away from this machine's", server, apart)
	case apart >= skewTold:
		r.warn(check, mend, "%s's clock is %v away from this machine's", server, apart)
	default:
		r.ok(check, "%s's clock agrees with this machine's within %v", server, max(apart, trip).Round(time.Millisecond)+time.Millisecond)
	}
}
