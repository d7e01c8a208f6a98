package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// ErrForbidden says that a receiver's address is one that may not be sent to.
var ErrForbidden = errors.New("the address is not allowed")

// guard decides on addresses at the very moment of connecting, after every name
// has become an address: a name that changes its mind gets nowhere.
type guard struct {
	allow []netip.Prefix
	plain bool // no TLS: only what is allowed outright
}

// control is called by net.Dialer with each address it is about to connect to.
func (g guard) control(network, address string, _ syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return fmt.Errorf("%w: %s", ErrForbidden, network)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrForbidden, address)
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrForbidden, address)
	}
	ip = ip.Unmap().WithZone("")
	switch {
	case within(g.allow, ip):
		return nil
	case g.plain:
		return fmt.Errorf("%w without TLS: %s", ErrForbidden, ip)
	case !public(ip):
		return fmt.Errorf("%w: %s is no public address", ErrForbidden, ip)
	}
	return nil
}

func within(networks []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// public is true of addresses that are anybody's on the internet. All of IPv6
// that is not, such as ::1, fe80::, fc00::, ff00::, ::/96 and NAT64's 64:ff9b::,
// lies outside of 2000::/3, apart from what special lists.
func public(ip netip.Addr) bool {
	if within(special(), ip) {
		return false
	}
	return ip.Is4() || global().Contains(ip)
}

func global() netip.Prefix { return netip.MustParsePrefix("2000::/3") }

// special are the blocks of IANA's registries of special-purpose addresses, and
// what a cloud has made its own.
func special() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),       // this network
		netip.MustParsePrefix("10.0.0.0/8"),      // private
		netip.MustParsePrefix("100.64.0.0/10"),   // carriers' NAT
		netip.MustParsePrefix("127.0.0.0/8"),     // this machine
		netip.MustParsePrefix("169.254.0.0/16"),  // this link; clouds' metadata
		netip.MustParsePrefix("172.16.0.0/12"),   // private
		netip.MustParsePrefix("192.0.0.0/24"),    // protocols
		netip.MustParsePrefix("192.0.2.0/24"),    // documentation
		netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
		netip.MustParsePrefix("192.168.0.0/16"),  // private
		netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
		netip.MustParsePrefix("198.51.100.0/24"), // documentation
		netip.MustParsePrefix("203.0.113.0/24"),  // documentation
		netip.MustParsePrefix("224.0.0.0/4"),     // multicast
		netip.MustParsePrefix("240.0.0.0/4"),     // reserved, broadcast
		netip.MustParsePrefix("2001::/23"),       // protocols, Teredo among them
		netip.MustParsePrefix("2001:db8::/32"),   // documentation
		netip.MustParsePrefix("2002::/16"),       // 6to4, which leads to any IPv4
		netip.MustParsePrefix("3fff::/20"),       // documentation
		// Azure's wire server, which tells machines their secrets.
		netip.MustParsePrefix("168.63.129.16/32"),
	}
}
