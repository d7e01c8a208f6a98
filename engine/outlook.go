package engine

import (
	"context"
	"sync"
	"time"

	"github.com/holdfast/holdfast/lua"
)

// outlook refuses in process what Redis would refuse: a drop that is sold out,
// paused, has ended or has not started. It learns that from Redis's own answers
// and from the events of the drops, and it forgets quickly: on news older than
// maxAge nobody is refused before Redis has been asked again. One request goes
// and asks, and those that come meanwhile wait for its answer: when a hundred
// thousand people want a drop that is gone, Redis hears of ten a second.
//
// It only ever refuses. Whatever it does not know, and all that is not a
// refusal, is Redis's to decide.
type outlook struct {
	maxAge time.Duration // negative: nothing is refused here

	mu    sync.RWMutex
	drops map[int64]*dropOutlook
	swept time.Time // when room was made last
}

func newOutlook(maxAge time.Duration) outlook {
	return outlook{maxAge: maxAge, drops: map[int64]*dropOutlook{}}
}

// maxOutlooks is how many drops are remembered, and outlookAge after which time
// without news one gives way to another.
const (
	maxOutlooks = 10_000
	outlookAge  = time.Second
)

// dropOutlook is what is known of one drop.
type dropOutlook struct {
	mu     sync.Mutex
	closed verdict // whatever the size: paused, ended, not started
	// sizes has one verdict a size; of a drop without sizes one alone, "".
	sizes map[string]*verdict
	sized bool
	heard time.Time // the latest news of any kind

	// Redis's clock said nowMS at some time after sent.
	sent  time.Time
	nowMS int64
}

// verdict is the newest word on whether Redis would refuse.
type verdict struct {
	refusal error     // nil: it is to be asked
	asOf    time.Time // it was so at this time or after
	until   time.Time // from here on it may be otherwise; zero: as long as the news are fresh
	version int64     // of the drop
	opened  time.Time // what was asked before this is not believed any more
	// asking is closed when the request that went to ask has its answer; nil
	// while nobody does.
	asking chan struct{}
}

// probe is a request that goes and asks for those that wait.
type probe struct {
	drop    *dropOutlook
	verdict *verdict
}

// refuse gives the refusal that Redis would give for the size of the drop; nil:
// ask it. Whoever gets a probe asks for others too, and calls its answered.
func (o *outlook) refuse(ctx context.Context, drop int64, size string) (p *probe, refusal error) {
	d := o.of(drop)
	if d == nil {
		return nil, nil
	}
	came := time.Now()
	for waited := false; ; waited = true {
		wait, p, refusal := d.ask(size, came, o.maxAge, waited)
		if wait == nil {
			return p, refusal
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, nil // who is asked next says that it is too late
		}
	}
}

// ask looks once for a request that came at a time: it gives what to wait for,
// the probe, or the refusal. Who has waited already neither waits nor asks for
// others again.
func (d *dropOutlook) ask(size string, came time.Time, maxAge time.Duration, waited bool) (wait chan struct{}, p *probe, refusal error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := &d.closed
	if v.refusal == nil {
		if v = d.sizes[d.pool(size)]; v == nil || v.refusal == nil {
			return nil, nil, nil
		}
	}
	now := time.Now()
	switch {
	case !v.until.IsZero() && !now.Before(v.until):
		return nil, nil, nil // everybody asks: it starts
	case now.Sub(v.asOf) <= maxAge, v.asOf.After(came): // the latter is as good as asking
		return nil, nil, v.refusal
	case waited:
		return nil, nil, nil
	case v.asking != nil:
		return v.asking, nil, nil
	}
	v.asking = make(chan struct{})
	return nil, &probe{d, v}, nil
}

// pool is the size whose stock a request for a size draws on.
func (d *dropOutlook) pool(size string) string {
	if d.sized {
		return size
	}
	return ""
}

// answered lets those go on that have waited for the probe.
func (p *probe) answered() {
	p.drop.mu.Lock()
	defer p.drop.mu.Unlock()
	close(p.verdict.asking)
	p.verdict.asking = nil
}

// replied takes note of an answer of reserve.lua to a call begun at sent.
func (o *outlook) replied(drop int64, sent time.Time, batch []*member[ReserveRequest, Reservation], reply lua.ReserveReply) {
	d := o.remember(drop)
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard = time.Now()
	d.sized = reply.Sized
	if sent.After(d.sent) {
		d.sent, d.nowMS = sent, reply.NowMS
	}
	var closed error
	for i := range reply.Results {
		switch r := reply.Results[i]; {
		case r.Refusal == lua.NotStarted, r.Refusal == lua.Ended, r.Refusal == lua.Paused:
			closed = reserveErrors[r.Refusal]
		case r.Refusal == lua.OutOfStock:
			d.size(batch[i].req.Size).learn(ErrOutOfStock, sent, reply.Version)
		case r.Seq > 0: // there was one; whether there are more, who knows
			d.size(batch[i].req.Size).learn(nil, sent, reply.Version)
		}
	}
	if d.closed.learn(closed, sent, reply.Version) && closed == ErrNotStarted { //nolint:errorlint // from the table
		// Redis's clock reads the start after at least this time.
		d.closed.until = sent.Add(time.Duration(reply.StartMS-reply.NowMS-1) * time.Millisecond)
	}
}

// happened takes note of an event.
func (o *outlook) happened(e Event) {
	d := o.remember(e.Drop)
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard = time.Now()
	if e.Version > d.closed.version {
		d.closed.open(e.Version) // it may have been changed
	}
	for i := range e.Sizes {
		d.sized = e.Sizes[i].Size != ""
		v := d.size(e.Sizes[i].Size)
		switch {
		case e.Version <= v.version && d.heard.Sub(v.asOf) < outlookAge:
		case e.Sizes[i].Available > 0:
			v.open(e.Version)
		case !d.sent.IsZero():
			// Events are late by an unknown time; how late the clocks tell.
			v.learn(ErrOutOfStock, d.sent.Add(e.At.Sub(time.UnixMilli(d.nowMS))-time.Millisecond), e.Version)
		}
	}
}

// opened takes note that this engine has just given back a unit of the size.
func (o *outlook) opened(drop int64, size string) {
	d := o.of(drop)
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.sizes[d.pool(size)]; v != nil {
		v.open(v.version)
	}
}

// forget drops what is known of a drop that was opened anew.
func (o *outlook) forget(drop int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.drops, drop)
}

// forgetAll drops what is known: events have been missed.
func (o *outlook) forgetAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.drops)
}

// size is the verdict on the pool that a request for the size draws on.
func (d *dropOutlook) size(size string) *verdict {
	v := d.sizes[d.pool(size)]
	if v == nil {
		v = &verdict{}
		d.sizes[d.pool(size)] = v
	}
	return v
}

// learn takes an answer that Redis gave at some time after asOf, if it is newer
// than what is known. The version says which is; after a fail-over it may be
// lower, so it counts only against what was heard lately.
func (v *verdict) learn(refusal error, asOf time.Time, version int64) bool {
	lately := asOf.Sub(v.asOf) < outlookAge
	if asOf.Before(v.opened) || lately && version < v.version || version == v.version && asOf.Before(v.asOf) {
		return false
	}
	v.refusal, v.asOf, v.version, v.until = refusal, asOf, version, time.Time{}
	return true
}

// open has Redis asked: there is, or may be, something to be had.
func (v *verdict) open(version int64) {
	now := time.Now()
	v.refusal, v.asOf, v.opened, v.version = nil, now, now, version
}

// of is what is known of a drop; nil: nothing.
func (o *outlook) of(drop int64) *dropOutlook {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.drops[drop]
}

// remember is of, for a drop of which there are news; nil where too many drops
// have some.
func (o *outlook) remember(drop int64) *dropOutlook {
	if o.maxAge < 0 {
		return nil
	}
	if d := o.of(drop); d != nil {
		return d
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.drops[drop]
	if d == nil && (len(o.drops) < maxOutlooks || o.makeRoom()) {
		d = &dropOutlook{sizes: map[string]*verdict{}, heard: time.Now()}
		o.drops[drop] = d
	}
	return d
}

// makeRoom drops those without news for long, now and then.
func (o *outlook) makeRoom() bool {
	if time.Since(o.swept) < outlookAge {
		return false
	}
	o.swept = time.Now()
	for id, d := range o.drops {
		d.mu.Lock()
		if time.Since(d.heard) > outlookAge {
			delete(o.drops, id)
		}
		d.mu.Unlock()
	}
	return len(o.drops) < maxOutlooks
}
