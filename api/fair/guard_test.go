package fair

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func address(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// slow has a burst that is not refilled while a test runs.
func slow(burst int) Rate { return Rate{PerSecond: 0.01, Burst: burst} }

func TestBurstAndThenTheRate(t *testing.T) {
	t.Parallel()
	b := newBuckets[int](1000)
	now := time.Now()
	r := Rate{PerSecond: 10, Burst: 3}
	for range 3 {
		if wait := b.take(1, r, now); wait != 0 {
			t.Fatalf("refused within the burst, for %v", wait)
		}
	}
	if wait := b.take(1, r, now); wait < 99*time.Millisecond || wait > 101*time.Millisecond {
		t.Errorf("to wait %v, want 100ms", wait)
	}
	if wait := b.take(2, r, now); wait != 0 {
		t.Errorf("another is refused, for %v", wait)
	}
	if wait := b.take(1, r, now.Add(101*time.Millisecond)); wait != 0 {
		t.Errorf("refused after the wait, for %v", wait)
	}
	if wait := b.take(1, r, now.Add(102*time.Millisecond)); wait == 0 {
		t.Error("the rate is not kept")
	}
}

// The caller who goes on calling stays known, whoever else comes.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	const most = 1000
	b := newBuckets[int](most)
	now := time.Now()
	b.take(-1, slow(1), now)
	for i := range 100_000 {
		b.take(i, slow(1), now)
		if i%10 == 0 && b.take(-1, slow(1), now) == 0 {
			t.Fatalf("who is busy was forgotten after %d others", i)
		}
	}
	n := 0
	for i := range b.shards {
		n += b.shards[i].known.Len()
	}
	if n > most+shards {
		t.Errorf("%d buckets", n)
	}
}

func TestAddressesAndUsersAreCountedApart(t *testing.T) {
	t.Parallel()
	g := New(Config{Address: Limits{Reserve: slow(2), Read: slow(1)}, User: Limits{Reserve: slow(1)}})
	calls := func(call func() error) (n int) {
		for range 10 {
			if call() == nil {
				n++
			}
		}
		return n
	}
	a := address(1)
	for name, c := range map[string]struct {
		got, want int
	}{
		"reserve": {calls(func() error { return g.Address(Reserve, a) }), 2},
		"read":    {calls(func() error { return g.Address(Read, a) }), 1},
		"cancel":  {calls(func() error { return g.Address(Cancel, a) }), 10},
		"other":   {calls(func() error { return g.Address(Reserve, address(2)) }), 2},
		"user 1":  {calls(func() error { return g.User(Reserve, 1) }), 1},
		"user 2":  {calls(func() error { return g.User(Reserve, 2) }), 1},
		"network": {calls(func() error { return g.Address(Reserve, netip.MustParseAddr("2001:db8::1")) }) +
			calls(func() error { return g.Address(Reserve, netip.MustParseAddr("2001:db8::2")) }), 2},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d let through, want %d", name, c.got, c.want)
		}
	}
}

func TestRefusalSaysWhen(t *testing.T) {
	t.Parallel()
	g := New(Config{Address: Limits{Reserve: {PerSecond: 0.5, Burst: 1}}})
	if err := g.Address(Reserve, address(1)); err != nil {
		t.Fatal(err)
	}
	err := g.Address(Reserve, address(1))
	r := (*RefusalError)(nil)
	if !errors.Is(err, ErrTooManyRequests) || !errors.As(err, &r) {
		t.Fatalf("%v", err)
	}
	if wait := r.RetryAfter(); wait <= time.Second || wait > 2*time.Second {
		t.Errorf("after %v", wait)
	}
	if r.Policy() != `"reserve-address";q=1;w=2` || r.Left() != `"reserve-address";r=0;t=2` {
		t.Errorf("%s, %s", r.Policy(), r.Left())
	}
}

func TestConnections(t *testing.T) {
	t.Parallel()
	g := New(Config{MaxConns: 2})
	a := address(1)
	for i, want := range []bool{true, true, false} {
		if g.Connect(a) != want {
			t.Errorf("connection %d of an address is not let in: %v", i+1, want)
		}
	}
	if !g.Connect(address(2)) {
		t.Error("another address is refused")
	}
	g.Disconnect(a)
	if !g.Connect(a) {
		t.Error("refused after one has left")
	}
	g.Disconnect(a)
	g.Disconnect(a)
	g.Disconnect(address(2))
	if len(g.conns.by) != 0 {
		t.Errorf("%d are remembered who have none", len(g.conns.by))
	}
}

// Of callers at once exactly as many pass as there are tokens.
func TestCallersAtOnce(t *testing.T) {
	t.Parallel()
	g := New(Config{User: Limits{Reserve: slow(50)}})
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 20 {
				if g.User(Reserve, 7) == nil {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != 50 {
		t.Errorf("%d passed, want 50", passed.Load())
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Rate{"20/100": {20, 100}, "0.5/1": {0.5, 1}, "off": {}} {
		var r Rate
		if err := r.UnmarshalText([]byte(text)); err != nil || r != want || r.String() != text {
			t.Errorf("%s: %v, %v", text, r, err)
		}
	}
	for _, text := range []string{"", "20", "0/5", "-1/5", "5/0", "NaN/5", "Inf/5", "1e9/5", "5/x", "5/99999999"} {
		var r Rate
		if r.UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q is read as %v", text, r)
		}
	}
	l, err := UserLimits().With(map[string]Rate{"read": {1, 2}})
	if err != nil || l[Read] != (Rate{1, 2}) || l[Reserve] != UserLimits()[Reserve] {
		t.Errorf("%v, %v", l, err)
	}
	if _, err := l.With(map[string]Rate{"write": {1, 1}}); err == nil || !strings.Contains(err.Error(), "write") {
		t.Errorf("an unknown class: %v", err)
	}
}

// BenchmarkAddress is what a call costs that is let through, and one that is not.
func BenchmarkAddress(b *testing.B) {
	for name, r := range map[string]Rate{"passes": {1e6, 1e6}, "refused": slow(1)} {
		b.Run(name, func(b *testing.B) {
			g := New(Config{Address: Limits{Reserve: r}})
			b.ReportAllocs()
			for b.Loop() {
				_ = g.Address(Reserve, address(1))
			}
		})
	}
}
