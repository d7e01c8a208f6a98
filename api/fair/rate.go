package fair

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Class is a kind of call with a limit of its own.
type Class uint8

// The classes. Connect is a new connection, the others are requests.
const (
	Reserve Class = iota
	Purchase
	Cancel
	Read
	Socket
	Connect
	classes
)

var classNames = [classes]string{"reserve", "purchase", "cancel", "read", "socket", "connect"}

func (c Class) String() string { return classNames[c] }

// Rate is the limit of a token bucket: it fills at PerSecond and holds Burst at
// most. The zero Rate limits nothing.
type Rate struct {
	PerSecond float64
	Burst     int
}

// The bounds of a Rate that is written out.
const (
	minPerSecond = 0.001
	maxPerSecond = 1e6
	maxBurst     = 1e6
)

// UnmarshalText reads PERSECOND/BURST, such as 20/100, or off.
func (r *Rate) UnmarshalText(text []byte) error {
	if string(text) == "off" {
		*r = Rate{}
		return nil
	}
	perSecond, burst, _ := strings.Cut(string(text), "/")
	f, err := strconv.ParseFloat(perSecond, 64)
	n, burstErr := strconv.Atoi(burst)
	if err != nil || burstErr != nil || !(f >= minPerSecond && f <= maxPerSecond) || n < 1 || n > maxBurst {
		return fmt.Errorf("%q is no rate: calls a second and the burst, such as 20/100, or off", text)
	}
	*r = Rate{PerSecond: f, Burst: n}
	return nil
}

// String is the form that UnmarshalText reads.
func (r Rate) String() string {
	if r == (Rate{}) {
		return "off"
	}
	return strconv.FormatFloat(r.PerSecond, 'g', -1, 64) + "/" + strconv.Itoa(r.Burst)
}

// Limits has the rate of each class.
type Limits [classes]Rate

// AddressLimits are those of one address if nothing else is said. Behind one
// address may be a household, an office or a carrier's thousands, who all come
// in the same second: the bursts are for these, the rates for who goes on.
func AddressLimits() Limits {
	return Limits{
		Reserve: {20, 100}, Purchase: {20, 100}, Cancel: {10, 50},
		Read: {100, 500}, Socket: {20, 200}, Connect: {100, 1000},
	}
}

// UserLimits are those of one person if nothing else is said.
func UserLimits() Limits {
	return Limits{
		Reserve: {2, 10}, Purchase: {2, 10}, Cancel: {2, 10},
		Read: {20, 100}, // sockets bring no token
	}
}

// With is l with some classes changed, which are named as in String.
func (l Limits) With(changes map[string]Rate) (Limits, error) {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		class := slices.Index(classNames[:], name)
		if class < 0 {
			errs = append(errs, fmt.Errorf("%q is none of %s", name, strings.Join(classNames[:], ", ")))
			continue
		}
		l[class] = changes[name]
	}
	return l, errors.Join(errs...)
}
