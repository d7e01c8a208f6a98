package fair

import (
	"fmt"
	"net/netip"
	"strings"
)

// Proxies are the networks whose word about the client, X-Forwarded-For, is
// believed. Nobody else's is: anybody may send that header.
type Proxies []netip.Prefix

// ParseProxies reads networks (10.0.0.0/8) and single addresses (10.0.0.7).
func ParseProxies(texts []string) (Proxies, error) {
	proxies := make(Proxies, 0, len(texts))
	for _, text := range texts {
		text = strings.TrimSpace(text)
		if a, err := netip.ParseAddr(text); err == nil {
			a = plain(a)
			proxies = append(proxies, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Addr().Is4In6() { // the latter never matches: addresses come unmapped
			return nil, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", text)
		}
		proxies = append(proxies, p.Masked())
	}
	return proxies, nil
}

// Trust says whether an address is that of a proxy.
func (p Proxies) Trust(a netip.Addr) bool {
	a = plain(a)
	for _, network := range p {
		if network.Contains(a) {
			return true
		}
	}
	return false
}

// maxHops is how many entries of X-Forwarded-For are looked at, from the right.
const maxHops = 32

// Client is who is at the other end of the proxies. Each proxy adds at the right
// whom it heard; so the walk goes from the peer of the connection leftwards for
// as long as it is a proxy who speaks, and the first who is none is the
// client: what stands left of it, the client has written. forwarded
// are the lines of X-Forwarded-For in their order. What cannot be read
// ends the walk at the proxy that wrote it.
func (p Proxies) Client(peer netip.Addr, forwarded ...string) netip.Addr {
	client := plain(peer)
	hops := 0
	for i := len(forwarded) - 1; i >= 0; i-- {
		for rest, more := forwarded[i], true; more; hops++ {
			if hops == maxHops || !p.Trust(client) {
				return client
			}
			var entry string
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, entry = rest[:at], rest[at+1:]
			} else {
				entry, more = rest, false
			}
			next, ok := hop(strings.TrimSpace(entry))
			if !ok {
				return client
			}
			client = next
		}
	}
	return client
}

// hop reads an entry of X-Forwarded-For: an address, with a port or without.
func hop(entry string) (netip.Addr, bool) {
	const longest = 64 // of an IPv6 address in brackets with its port there are 54
	if entry == "" || len(entry) > longest || strings.IndexByte(entry, '%') >= 0 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(entry, "["), "]"))
	if err != nil {
		with, err := netip.ParseAddrPort(entry)
		if err != nil {
			return netip.Addr{}, false
		}
		a = with.Addr()
	}
	return plain(a), true
}

// plain is an address in the one form it is compared in.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// caller is what counts as one address: an IPv4 address, or an IPv6 network of
// 64 bits, which one customer has.
type caller [16]byte

func callerOf(a netip.Addr) caller {
	a = plain(a)
	c := caller(a.As16())
	if a.Is6() {
		clear(c[8:])
	}
	return c
}
