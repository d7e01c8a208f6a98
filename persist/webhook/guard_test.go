package webhook

import (
	"errors"
	"net/netip"
	"testing"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	for address, public := range map[string]bool{
		"8.8.8.8:443": true, "93.184.216.34:8443": true, "172.15.255.255:443": true, "172.32.0.1:443": true,
		"100.63.255.255:443": true, "100.128.0.1:443": true, "192.0.3.1:443": true, "223.255.255.255:443": true,
		"[2606:4700:4700::1111]:443": true, "[2a00:1450:4001::1]:443": true, "[::ffff:8.8.8.8]:443": true,

		"0.0.0.0:443": false, "0.1.2.3:443": false, "10.0.0.1:443": false, "10.255.255.255:443": false,
		"100.64.0.1:443": false, "100.127.255.255:443": false, "127.0.0.1:443": false, "127.255.255.254:443": false,
		"169.254.169.254:80": false, "172.16.0.1:443": false, "172.31.255.255:443": false, "192.0.0.8:443": false,
		"192.0.2.1:443": false, "192.88.99.1:443": false, "192.168.0.1:443": false, "198.18.0.1:443": false,
		"198.19.255.255:443": false, "198.51.100.7:443": false, "203.0.113.7:443": false, "224.0.0.1:443": false,
		"168.63.129.15:443": true, "168.63.129.16:80": false, "168.63.129.17:443": true,
		"239.255.255.255:443": false, "240.0.0.1:443": false, "255.255.255.255:443": false,

		"[::]:443": false, "[::1]:443": false, "[::127.0.0.1]:443": false, "[::ffff:127.0.0.1]:443": false,
		"[::ffff:10.0.0.1]:443": false, "[::ffff:169.254.169.254]:80": false, "[::ffff:0:127.0.0.1]:443": false,
		"[64:ff9b::7f00:1]:443": false, "[64:ff9b::8.8.8.8]:443": false, "[64:ff9b:1::1]:443": false, "[100::1]:443": false,
		"[2001::1]:443": false, "[2001:db8::1]:443": false, "[2002:7f00:1::1]:443": false, "[3fff::1]:443": false,
		"[5f00::1]:443": false, "[fc00::1]:443": false, "[fd00:ec2::254]:80": false, "[fe80::1]:443": false,
		"[fe80::1%eth0]:443": false, "[fec0::1]:443": false, "[ff02::1]:443": false,

		"localhost:443": false, "example.com:443": false, "127.1:443": false, "": false, "8.8.8.8": false,
	} {
		err := guard{}.control("tcp", address, nil)
		if (err == nil) != public || (err != nil && !errors.Is(err, ErrForbidden)) {
			t.Errorf("%q: %v, want allowed %v", address, err, public)
		}
		if err := (guard{plain: true}).control("tcp", address, nil); !errors.Is(err, ErrForbidden) {
			t.Errorf("%q without TLS: %v", address, err)
		}
	}
	if err := (guard{}).control("udp4", "8.8.8.8:443", nil); !errors.Is(err, ErrForbidden) {
		t.Errorf("udp: %v", err)
	}
}

func TestGuardOfWhatIsAllowed(t *testing.T) {
	t.Parallel()
	g := guard{allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("64:ff9b::/96")}}
	for address, allowed := range map[string]bool{
		"10.1.2.3:80": true, "[::ffff:10.1.2.3]:80": true, "[fd00::1]:80": true, "[64:ff9b::8.8.8.8]:443": true,
		"10.2.0.1:80": false, "127.0.0.1:80": false, "[fe80::1]:80": false, "[::1]:80": false,
	} {
		for _, plain := range []bool{false, true} {
			g.plain = plain
			if err := g.control("tcp", address, nil); (err == nil) != allowed {
				t.Errorf("%q (plain %v): %v, want allowed %v", address, plain, err, allowed)
			}
		}
	}
}
