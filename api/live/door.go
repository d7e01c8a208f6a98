package live

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Why somebody is not let in. Test with errors.Is.
var (
	// ErrFull: the instance has as many connections as it may.
	ErrFull = errors.New("too many connections")
	// ErrTooMany: the address has as many connections as one may.
	ErrTooMany = errors.New("too many connections from one address")
)

// transport is how a client is connected.
type transport int

const (
	overWebSocket transport = iota
	overSocketIO
	transports
)

// door counts who is in.
type door struct {
	most, mostPerAddress int

	mu        sync.Mutex
	in        [transports]int64
	byAddress map[netip.Prefix]int
}

func newDoor(most, mostPerAddress int) *door {
	return &door{most: most, mostPerAddress: mostPerAddress, byAddress: map[netip.Prefix]int{}}
}

// enter lets a client in, who must leave by the function returned. Returns
// ErrFull or ErrTooMany.
func (d *door) enter(over transport, address string) (leave func(), err error) {
	from := network(address)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.in[overWebSocket]+d.in[overSocketIO] >= int64(d.most):
		return nil, ErrFull
	case d.byAddress[from] >= d.mostPerAddress:
		return nil, ErrTooMany
	}
	d.in[over]++
	d.byAddress[from]++
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.in[over]--
		if d.byAddress[from]--; d.byAddress[from] == 0 {
			delete(d.byAddress, from)
		}
	}), nil
}

func (d *door) count(over transport) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.in[over]
}

// network is what counts as one address: an IPv4 address, or an IPv6 network
// of 64 bits, which one customer has. What is no address counts as one.
func network(address string) netip.Prefix {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // bits fit the address
	return p
}

// Allowed says whether a page of the given origin may connect: one of the host
// that was called, or of allowed origins (scheme://host[:port], *. before a
// host for the hosts below it, or * for all). A client that is no browser
// sends no origin and is let in.
func Allowed(origin, host string, allowed []string) bool {
	if origin == "" || slices.Contains(allowed, "*") {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	if strings.EqualFold(u.Host, host) {
		return true
	}
	for _, a := range allowed {
		scheme, domain, below := strings.Cut(a, "://*.")
		switch {
		case strings.EqualFold(a, origin):
			return true
		case below && strings.EqualFold(u.Scheme, scheme) && strings.HasSuffix(strings.ToLower(u.Host), "."+strings.ToLower(domain)):
			return true
		}
	}
	return false
}
