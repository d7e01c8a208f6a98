package loadtest

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
)

// end is how a reservation ended, as its buyer was told.
type end uint8

const (
	held      end = iota // it had not when the buyers left
	bought               //
	cancelled            //
	lapsed               // before it could be bought
	maybeBought
	maybeCancelled
	vanished // the API said that there is no such reservation, or refused in another way
)

// maxTold bounds how many reservations a load test remembers.
const maxTold = 1 << 24

// buyer is one person, and what they were told. One worker has it at a time.
type buyer struct {
	user    int64
	reserve []byte // the body of the call
	body    []byte // scratch
	etag    string // of the drop's page

	ids   []int64 // of the reservations, in the order in which they were made
	ends  []end   // one each
	lost  int64   // calls to reserve that were sent and had no certain answer
	wrong tally   // answers about somebody or something else
	looks tally   // pages of the drop, and whether their counters added up
}

// tally counts cases, and keeps the first bad one.
type tally struct {
	all, bad int64
	first    string
}

func (t *tally) ok() { t.all++ }

func (t *tally) failedf(format string, args ...any) {
	t.all++
	if t.bad++; t.bad == 1 {
		t.first = fmt.Sprintf(format, args...)
	}
}

func (t *tally) add(other tally) {
	t.all += other.all
	t.bad += other.bad
	if t.first == "" {
		t.first = other.first
	}
}

// newBuyers are the people, who ask for sizes in turn where the drop has some.
func newBuyers(d drop, users []int64) ([]*buyer, error) {
	buyers := make([]*buyer, len(users))
	for i, user := range users {
		body := struct {
			Drop int64   `json:"dropId"`
			User int64   `json:"userId"`
			Size *string `json:"size,omitempty"`
		}{d.ID, user, nil}
		if len(d.Sizes) > 0 {
			body.Size = &d.Sizes[i%len(d.Sizes)].Size
		}
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		buyers[i] = &buyer{user: user, reserve: raw}
	}
	return buyers, nil
}

// memory is how many reservations all buyers may still remember, and what to do
// when it is used up.
type memory struct {
	left atomic.Int64
	full func()
}

func newMemory(full func()) *memory {
	m := &memory{full: full}
	m.left.Store(maxTold)
	return m
}

func (m *memory) take() {
	if m.left.Add(-1) == 0 {
		m.full()
	}
}
