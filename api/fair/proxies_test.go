package fair

import (
	"net/netip"
	"strings"
	"testing"
)

func proxiesOf(t testing.TB, texts ...string) Proxies {
	t.Helper()
	p, err := ParseProxies(texts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestClient(t *testing.T) {
	t.Parallel()
	behind := []string{"10.0.0.0/8", "192.0.2.7", "fd00::/8"}
	for name, c := range map[string]struct {
		proxies   []string
		peer      string
		forwarded []string
		want      string
	}{
		"nobody is trusted":              {nil, "10.0.0.1", []string{"198.51.100.1"}, "10.0.0.1"},
		"a stranger's word":              {behind, "203.0.113.9", []string{"198.51.100.1"}, "203.0.113.9"},
		"a proxy without the header":     {behind, "10.0.0.1", nil, "10.0.0.1"},
		"one proxy":                      {behind, "10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		"two proxies":                    {behind, "10.0.0.1", []string{"198.51.100.1, 192.0.2.7"}, "198.51.100.1"},
		"what the client made up":        {behind, "10.0.0.1", []string{"10.9.9.9, 198.51.100.1"}, "198.51.100.1"},
		"garbage that the client sent":   {behind, "10.0.0.1", []string{"<script>, 198.51.100.1"}, "198.51.100.1"},
		"garbage that a proxy wrote":     {behind, "10.0.0.1", []string{"198.51.100.1, unknown"}, "10.0.0.1"},
		"lines in their order":           {behind, "10.0.0.1", []string{"8.8.8.8", "198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		"the client's own line first":    {behind, "10.0.0.1", []string{"8.8.8.8", "198.51.100.1"}, "198.51.100.1"},
		"proxies all the way":            {behind, "10.0.0.1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"with a port":                    {behind, "10.0.0.1", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		"IPv6":                           {behind, "fd00::1", []string{"2001:db8::1"}, "2001:db8::1"},
		"IPv6 in brackets":               {behind, "10.0.0.1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		"IPv6 with a port":               {behind, "10.0.0.1", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		"a mapped peer":                  {behind, "::ffff:10.0.0.1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		"a zone":                         {behind, "10.0.0.1", []string{"fe80::1%eth0"}, "10.0.0.1"},
		"an empty header":                {behind, "10.0.0.1", []string{""}, "10.0.0.1"},
		"more hops than are looked at":   {behind, "10.0.0.1", []string{"198.51.100.1" + strings.Repeat(",10.0.0.2", maxHops)}, "10.0.0.2"},
		"a single address as a network":  {behind, "192.0.2.7", []string{"198.51.100.1"}, "198.51.100.1"},
		"the neighbour of that address":  {behind, "192.0.2.8", []string{"198.51.100.1"}, "192.0.2.8"},
		"spaces":                         {behind, "10.0.0.1", []string{"  198.51.100.1  ,\t10.0.0.2 "}, "198.51.100.1"},
		"a comma too many, by the proxy": {behind, "10.0.0.1", []string{"198.51.100.1,"}, "10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := proxiesOf(t, c.proxies...).Client(netip.MustParseAddr(c.peer), c.forwarded...)
			if got.String() != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestParseProxiesRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "proxy", "10.0.0.0/33", "10.0.0.0-10.0.0.9", "::ffff:10.0.0.0/104"} {
		if p, err := ParseProxies([]string{text}); err == nil {
			t.Errorf("%q is read as %v", text, p)
		}
	}
}

func TestOneCustomerIsOneCaller(t *testing.T) {
	t.Parallel()
	a := netip.MustParseAddr
	for _, c := range []struct {
		one, other string
		same       bool
	}{
		{"192.0.2.1", "192.0.2.1", true}, {"192.0.2.1", "192.0.2.2", false}, {"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8:1:2:3::1", "2001:db8:1:2:ffff::9", true}, {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
	} {
		if same := callerOf(a(c.one)) == callerOf(a(c.other)); same != c.same {
			t.Errorf("%s and %s are one: %v", c.one, c.other, same)
		}
	}
}

// FuzzForwarded sends whatever a client may: the answer is always an address,
// and never one that stands left of the first hop that is no proxy.
func FuzzForwarded(f *testing.F) {
	f.Add("198.51.100.1, 10.0.0.2", "", true)
	f.Add("[2001:db8::1]:80", "unknown,,", false)
	f.Add("::ffff:10.0.0.1%x", "1.2.3.4:99999", true)
	proxies := proxiesOf(f, "10.0.0.0/8", "fd00::/8")
	f.Fuzz(func(t *testing.T, one, other string, trusted bool) {
		peer := netip.MustParseAddr("203.0.113.9")
		if trusted {
			peer = netip.MustParseAddr("10.0.0.1")
		}
		got := proxies.Client(peer, one, other)
		if !got.IsValid() || got.Is4In6() || got.Zone() != "" {
			t.Errorf("%q, %q: %v", one, other, got)
		}
		if !trusted && got != peer {
			t.Errorf("%q, %q of a stranger: %v", one, other, got)
		}
		// What the last proxy heard itself counts, whatever came before.
		if heard := proxies.Client(peer, one, other+", 198.51.100.1"); trusted && heard.String() != "198.51.100.1" {
			t.Errorf("%q, %q: %v", one, other, heard)
		}
		_ = callerOf(got)
	})
}
