package fair

import (
	"net/netip"
	"sync"
)

// conns counts the connections of each address.
type conns struct {
	most int // 0: any number

	mu sync.Mutex
	by map[caller]int // who has any
}

func newConns(most int) *conns { return &conns{most: most, by: map[caller]int{}} }

// Connect says whether an address may have one more connection, for which
// Disconnect has to be called then. It costs little: what is refused here was
// not read from.
func (g *Guard) Connect(from netip.Addr) bool {
	if g.Address(Connect, from) != nil {
		return false
	}
	if !g.conns.enter(callerOf(from)) {
		g.refusedConns.Inc()
		return false
	}
	return true
}

// Disconnect ends a connection that Connect has let in.
func (g *Guard) Disconnect(from netip.Addr) { g.conns.leave(callerOf(from)) }

func (c *conns) enter(who caller) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.most > 0 && c.by[who] >= c.most {
		return false
	}
	c.by[who]++
	return true
}

func (c *conns) leave(who caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by[who]--; c.by[who] <= 0 {
		delete(c.by, who)
	}
}
