package sim

import (
	"fmt"
	"strings"
)

func (f *Filed) id() string {
	if f.Kind == 0 { // a writer asked for more
		return ""
	}
	return fmt.Sprintf(" %c%d:%d", f.Kind, f.Drop, f.Seq)
}

// String is one line of a trace.
func (c *call) String() string {
	who := "nobody"
	switch {
	case c.actor == nobody:
	case int(c.actor) < maxBuyers:
		who = fmt.Sprintf("buyer %d", c.actor)
	default:
		who = fmt.Sprintf("instance %d", instanceOf(c.actor))
	}
	to := "Postgres"
	if c.to != toPostgres {
		to = fmt.Sprintf("server %d", c.to)
	}
	s := fmt.Sprintf("%s → %s: %s", who, to, callNames[c.kind])
	switch c.kind {
	case callReserve:
		s += fmt.Sprintf(" drop %d user %d size %d key %d → %d", c.drop, c.user, c.size, c.key, c.code)
	case callSettle, callEnd:
		s += fmt.Sprintf(" %c drop %d seq %d → %d", c.end, c.drop, c.seq, c.code)
	case callRestore, callRead, callDone, callCommit, callRefuse:
		var ids [maxHand]string
		for i := range min(c.n, maxHand) {
			ids[i] = c.hand[i].id()
		}
		s += strings.Join(ids[:], "")
	case callLevel, callFloor:
		s += fmt.Sprintf(" drop %d seq %d held %v → %d", c.drop, c.seq, c.held, c.code)
	case callStanding:
		s += fmt.Sprintf(" → %+v", c.standing)
	case callLook, callFind, callReport:
		s += fmt.Sprintf(" %d:%d → %d", c.drop, c.seq, c.code)
	case callClaim, callRelease:
		s += fmt.Sprintf(" → %d", c.code)
	default:
	}
	s += fmt.Sprintf(" (token %d %d:%d, epoch %d)", c.token.Epoch, c.token.Server, c.token.Claim, c.epoch)
	return s + [...]string{"", " FENCED", " AWAY", " REFUSED", " OLD EPOCH"}[c.outcome]
}
