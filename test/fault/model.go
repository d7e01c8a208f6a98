package fault

import (
	"fmt"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// The status of one hold in the model.
const (
	absent    = byte(iota) // not reserved (yet)
	live                   // held, before its deadline
	due                    // held, after its deadline: it can end by lapsing alone
	sold                   // purchased
	cancelled              // given back by its person
	lapsed                 // given back after its deadline
)

// What a step does: the operations of clients, and what time does by itself.
type verb byte

const (
	stepReserve  verb = iota // got a hold
	stepRefuse               // a reserve that was refused
	stepPurchase             //
	stepCancel               //
	stepRead                 // of the stock
	stepDue                  // the deadline of a hold passes
	stepLapse                // a hold that is due gives its unit back
)

// step is the input of the model: one operation with its outcome.
type step struct {
	verb   verb
	hold   int // index; -1: none
	user   int // index
	size   int // index
	result string
	read   []pool // by the index of the size
	origin op     // for people
}

// terms are what a drop, or one size of it, is sold by. They stay the same
// during a history, so the state does not hold them.
type terms struct {
	sizes []string
	total []int
	limit int // of each person; 0: none
	holds int
	users int
	start string // state before the first operation; "": all is available
}

// The state is a string, so that it is compared and copied cheaply:
//
//	holds bytes: the status of each
//	users bytes: what each holds and has bought
//	2 bytes a size: held, sold (available is the rest)
func (m terms) initial() string {
	if m.start != "" {
		return m.start
	}
	return string(make([]byte, m.holds+m.users+2*len(m.sizes)))
}

func (m terms) held(size int) int { return m.holds + m.users + 2*size }

func (m terms) available(state string, size int) int {
	at := m.held(size)
	return m.total[size] - int(state[at]) - int(state[at+1])
}

// step tells whether in this state the operation can have this outcome, and
// the state after it.
func (m terms) step(state string, s step) (bool, string) {
	status := absent
	if s.hold >= 0 {
		status = state[s.hold]
	}
	switch s.verb {
	case stepReserve:
		return m.reserve(state, s, status)
	case stepRefuse:
		// A key that has a hold is answered with it, never refused.
		return status == absent && s.result == m.refusal(state, s), state
	case stepPurchase:
		return m.settle(state, s, status, sold)
	case stepCancel:
		return m.settle(state, s, status, cancelled)
	case stepRead:
		for i := range s.read {
			at := m.held(i)
			p := s.read[i]
			if p.Held != int(state[at]) || p.Sold != int(state[at+1]) || p.Available != m.available(state, i) {
				return false, state
			}
		}
		return true, state
	case stepDue:
		if status == live {
			return true, m.become(state, s, due)
		}
		return status != absent, state // its reservation comes first
	case stepLapse:
		switch {
		case status == due, status == live && s.result == unknown:
			return true, m.become(state, s, lapsed)
		case status == live:
			return false, state // its deadline comes first
		}
		return status != absent || s.result == unknown, state
	}
	panic(fmt.Sprintf("step %d", s.verb))
}

// refusal is how a new reservation would be refused now; "" if it would not.
func (m terms) refusal(state string, s step) string {
	switch {
	case m.available(state, s.size) <= 0:
		return "out_of_stock"
	case m.limit > 0 && int(state[m.holds+s.user]) >= m.limit:
		return "limit_reached"
	}
	return ""
}

func (m terms) reserve(state string, s step, status byte) (bool, string) {
	switch {
	case status != absent: // its key has this hold already
		return s.result != done, state
	case s.result == repeated:
		return false, state
	case m.refusal(state, s) != "":
		return s.result == unknown, state
	}
	return true, m.become(state, s, live)
}

// settle is a purchase or a cancel, which a hold goes through at most once.
func (m terms) settle(state string, s step, status, wanted byte) (bool, string) {
	happens := func() (bool, string) {
		if status == live {
			return true, m.become(state, s, wanted)
		}
		return false, state
	}
	switch s.result {
	case unknown:
		if ok, next := happens(); ok {
			return true, next
		}
		return true, state
	case done:
		return happens()
	case repeated:
		return status == wanted, state
	case either:
		if status == wanted {
			return true, state
		}
		return happens()
	case "reservation_expired":
		return status == due || status == lapsed, state
	case "reservation_cancelled":
		return status == cancelled && wanted == sold, state
	case "reservation_completed":
		return status == sold && wanted == cancelled, state
	}
	return false, state
}

// become is the state after a hold's change, with what is counted from it.
func (m terms) become(state string, s step, status byte) string {
	next := []byte(state)
	next[s.hold] = status
	at := m.held(s.size)
	switch status {
	case live:
		next[m.holds+s.user]++
		next[at]++
	case sold:
		next[at]--
		next[at+1]++
	case cancelled, lapsed:
		next[m.holds+s.user]--
		next[at]--
	}
	return string(next)
}

// porcupine is the model as the checker takes it.
func (m terms) porcupine() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return m.initial() },
		Step: func(state, input, _ any) (bool, any) {
			ok, next := m.step(state.(string), input.(step))
			return ok, next
		},
		DescribeOperation: func(input, _ any) string { return input.(step).String() },
		DescribeState:     func(state any) string { return m.describe(state.(string)) },
	}
}

func (s step) String() string {
	result := s.result
	if result == unknown {
		result = "?"
	}
	switch s.verb {
	case stepDue:
		return fmt.Sprintf("deadline of %d", s.origin.ID)
	case stepLapse:
		return fmt.Sprintf("lapse of %d", s.origin.ID)
	case stepRead:
		return fmt.Sprintf("stock %v", s.read)
	case stepReserve, stepRefuse:
		return fmt.Sprintf("reserve user %d %s → %s %d", s.origin.User, s.origin.Size, result, s.origin.ID)
	case stepPurchase, stepCancel:
	}
	return fmt.Sprintf("%s %d → %s", s.origin.Kind, s.origin.ID, result)
}

func (m terms) describe(state string) string {
	var b strings.Builder
	for i, size := range m.sizes {
		at := m.held(i)
		fmt.Fprintf(&b, "%s available %d held %d sold %d; ", size, m.available(state, i), state[at], state[at+1])
	}
	names := [...]string{"", "live", "due", "sold", "cancelled", "lapsed"}
	for i := range m.holds {
		if state[i] == live || state[i] == due {
			fmt.Fprintf(&b, "hold %d %s ", i, names[state[i]])
		}
	}
	return b.String()
}

// clockSlack is how far two readings of the machine's clock, one of them cut
// to milliseconds by Redis, can be apart.
const clockSlack = int64(2 * time.Millisecond)
