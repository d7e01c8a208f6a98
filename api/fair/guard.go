package fair

import (
	"errors"
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// ErrTooManyRequests is what a *RefusalError is. Test with errors.Is.
var ErrTooManyRequests = errors.New("too many requests")

// Config is what a Guard is made of.
type Config struct {
	// Address are the limits of one address, where an IPv6 network of 64 bits
	// counts as one. Defaults to no limits.
	Address Limits
	// User are the limits of one person. Defaults to no limits.
	User Limits
	// MaxConns is how many connections one address may have at once. Defaults
	// to any number.
	MaxConns int
	// Remembered is of how many addresses, and of how many people, the use is
	// known: a class of calls each. Beyond it the one that was idle longest is
	// forgotten. Defaults to 100,000, which take up to 60 MB.
	Remembered int
	// Metrics registers what was refused. Defaults to none.
	Metrics prometheus.Registerer
}

// Guard says who may go on. Its methods are safe for concurrent use.
type Guard struct {
	byAddress, byUser scope
	addresses         *buckets[addressKey]
	users             *buckets[userKey]
	conns             *conns
	refusedConns      prometheus.Counter
}

type addressKey struct {
	from  caller
	class Class
}

type userKey struct {
	user  int64
	class Class
}

// New makes a Guard.
func New(cfg Config) *Guard {
	if cfg.Remembered <= 0 {
		cfg.Remembered = 100_000
	}
	f := promauto.With(cfg.Metrics)
	refused := f.NewCounterVec(prometheus.CounterOpts{
		Name: "holdfast_fair_refusals_total",
		Help: "Requests and connections over a limit of fair use, by limit: its class, and whether it is of an address or a user.",
	}, []string{"limit"})
	return &Guard{
		byAddress: newScope("address", cfg.Address, refused), byUser: newScope("user", cfg.User, refused),
		addresses: newBuckets[addressKey](cfg.Remembered), users: newBuckets[userKey](cfg.Remembered),
		conns: newConns(cfg.MaxConns), refusedConns: refused.WithLabelValues("connections-address"),
	}
}

// scope is one set of limits, ready to be told.
type scope [classes]limit

type limit struct {
	Rate
	name    string // of the policy
	policy  string // the header RateLimit-Policy
	refused prometheus.Counter
}

func newScope(of string, limits Limits, refused *prometheus.CounterVec) (s scope) {
	for class, r := range limits {
		if r == (Rate{}) {
			continue
		}
		name := Class(class).String() + "-" + of
		window := max(1, int(math.Ceil(float64(r.Burst)/r.PerSecond)))
		s[class] = limit{
			Rate: r, name: name, refused: refused.WithLabelValues(name),
			policy: `"` + name + `";q=` + strconv.Itoa(r.Burst) + ";w=" + strconv.Itoa(window),
		}
	}
	return s
}

// Address is nil if the address may make this call now, else a *RefusalError.
func (g *Guard) Address(class Class, from netip.Addr) error {
	l := &g.byAddress[class]
	if l.Burst == 0 {
		return nil
	}
	return l.judge(g.addresses.take(addressKey{callerOf(from), class}, l.Rate, time.Now()))
}

// User is nil if the person may make this call now, else a *RefusalError.
func (g *Guard) User(class Class, id int64) error {
	l := &g.byUser[class]
	if l.Burst == 0 {
		return nil
	}
	return l.judge(g.users.take(userKey{id, class}, l.Rate, time.Now()))
}

func (l *limit) judge(wait time.Duration) error {
	if wait == 0 {
		return nil
	}
	l.refused.Inc()
	return &RefusalError{limit: l, wait: wait}
}

// RefusalError is a call over a limit.
type RefusalError struct {
	limit *limit
	wait  time.Duration
}

func (r *RefusalError) Error() string { return "too many requests: " + r.limit.policy }

// Unwrap gives ErrTooManyRequests.
func (r *RefusalError) Unwrap() error { return ErrTooManyRequests }

// RetryAfter is when the next call is let through, if no other takes its place.
func (r *RefusalError) RetryAfter() time.Duration { return r.wait }

// Policy is the value of the header RateLimit-Policy, and Left that of
// RateLimit, in the form of draft-ietf-httpapi-ratelimit-headers-10: the
// limit's name, its quota q in a window of w seconds; r calls left, more in t seconds.
func (r *RefusalError) Policy() string { return r.limit.policy }

// Left is said at Policy.
func (r *RefusalError) Left() string {
	return `"` + r.limit.name + `";r=0;t=` + strconv.Itoa(Seconds(r.wait))
}

// Seconds is a wait as headers have it: whole seconds, at least one.
func Seconds(wait time.Duration) int {
	return max(1, int((wait+time.Second-1)/time.Second))
}
