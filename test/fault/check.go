package fault

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// sale is one drop as it was opened, and where its history begins.
type sale struct {
	ID     int64
	Sizes  []string // one, empty: a drop without sizes
	Totals []int
	Limit  int
	Hold   time.Duration

	// Steered: consoles change it, see consoles.go. Totals are then those that
	// came of it, once its changes are judged.
	Steered bool

	// Known are holds that are there when the history begins, live or ended.
	// Empty for a drop that has just been opened.
	Known []known
}

// known is a hold at the beginning of a history.
type known struct {
	ID, User int64
	Size     string
	Key      string
	Status   byte

	Created, Deadline, Ended int64 // Unix ms; Ended 0: not sold and not cancelled
}

// fate is how a hold ended, or that it has not, as the stores tell afterwards.
type fate struct {
	User                     int64
	Size                     string
	Key                      string // Idempotency-Key it was asked for with, where Redis still knows
	Status                   string // completed, cancelled, expired, refused; active: live in Redis
	Created, Deadline, Ended int64  // Unix ms by Redis's clock; Ended 0: active
}

// verdict is the outcome of the check of one history.
type verdict struct {
	result porcupine.CheckResult
	part   part // the one that is illegal, or the first undecided
	steps  []porcupine.Operation
}

// The bounds of one check. A history that needs longer is undecided, which is
// reported as such.
const (
	hintedTimeout = 5 * time.Second
	openTimeout   = 20 * time.Second
)

// check decides whether the history of one drop is linearizable.
//
// An operation's place within its interval, and whether one of unknown outcome
// happened, is open; trying all of it is exponential in what overlaps. So the
// first attempt uses what the stores say afterwards: the times of Redis's clock
// in the answers and in Postgres, and how each hold ended. That only narrows the
// choice: an order found so is an order of the open history too, and it is
// linearizable. If none is found so, the stores may be what is wrong, and the
// verdict is that of the history alone, as the clients saw it.
func check(s sale, ops []op, fates map[int64]fate, lapseBy func(deadline int64) int64) verdict {
	ops = merged(ops)
	var worst verdict
	worst.result = porcupine.Ok
	for _, p := range parts(s, aged(ops)) {
		hinted, lapses := resolve(s, p.ops, fates)
		p.hint = true
		open := func(_, deadline int64) (int64, int64) { return deadline*1e6 - clockSlack, lapseBy(deadline) }
		steps := p.steps(hinted, func(id, deadline int64) (int64, int64) {
			from, to := open(id, deadline)
			if at := lapses[id]*1e6 + 999_999; at > from && at <= to { // within what is allowed
				return at - 999_999, at
			}
			return from, to
		})
		if porcupine.CheckOperationsTimeout(p.terms.porcupine(), steps, hintedTimeout) == porcupine.Ok {
			continue
		}
		p.hint = false
		steps = p.steps(p.ops, open)
		result := porcupine.CheckOperationsTimeout(p.terms.porcupine(), steps, openTimeout)
		switch {
		case result == porcupine.Illegal:
			return verdict{result: result, part: p, steps: steps}
		case result == porcupine.Unknown && worst.result == porcupine.Ok:
			worst = verdict{result: result, part: p, steps: steps}
		}
	}
	return worst
}

// part is a history that is linearizable by itself: that of a drop, or where
// no limit couples its sizes, of one size.
type part struct {
	sale  sale
	terms terms
	ops   []op
	hint  bool

	holds map[int64]int  // reservation → index
	keys  map[string]int // Idempotency-Key → index of its hold
	users map[int64]int
}

func parts(s sale, ops []op) []part {
	if s.Limit > 0 || len(s.Sizes) == 1 {
		return []part{newPart(s, ops)}
	}
	sizeOf := map[int64]string{}
	for _, k := range s.Known {
		sizeOf[k.ID] = k.Size
	}
	for _, o := range ops {
		if o.Kind == reserve && o.ID != 0 {
			sizeOf[o.ID] = o.Size
		}
	}
	out := make([]part, 0, len(s.Sizes))
	for i, size := range s.Sizes {
		one := sale{ID: s.ID, Sizes: []string{size}, Totals: s.Totals[i : i+1], Hold: s.Hold}
		for _, k := range s.Known {
			if k.Size == size {
				one.Known = append(one.Known, k)
			}
		}
		var of []op
		for _, o := range ops {
			switch o.Kind {
			case reserve:
				if o.Size != size {
					continue
				}
			case purchase, cancel:
				// One of an id that nobody was given is wrong in any part.
				if at, ok := sizeOf[o.ID]; ok && at != size || !ok && i > 0 {
					continue
				}
			case stock:
				if o.acknowledged() {
					o.Stock = o.Stock[i : i+1]
				}
			}
			of = append(of, o)
		}
		out = append(out, newPart(one, of))
	}
	return out
}

func newPart(s sale, ops []op) part {
	p := part{sale: s, ops: ops, holds: map[int64]int{}, keys: map[string]int{}, users: map[int64]int{}}
	p.terms = terms{sizes: s.Sizes, total: s.Totals, limit: s.Limit}
	user := func(id int64) {
		if _, ok := p.users[id]; !ok {
			p.users[id] = len(p.users)
		}
	}
	hold := func(id int64) int {
		if _, ok := p.holds[id]; !ok {
			p.holds[id] = p.terms.holds
			p.terms.holds++
		}
		return p.holds[id]
	}
	for _, k := range s.Known {
		user(k.User)
		p.keys[k.Key] = hold(k.ID)
	}
	for _, o := range ops {
		if o.ID != 0 {
			hold(o.ID)
		}
		if o.Kind == reserve {
			user(o.User)
			if o.ID != 0 {
				p.keys[o.Key] = p.holds[o.ID]
			}
		}
	}
	for _, o := range ops { // holds that nobody was told of
		if _, ok := p.keys[o.Key]; !ok && o.Kind == reserve && o.Result == unknown {
			p.keys[o.Key] = p.terms.holds
			p.terms.holds++
		}
	}
	p.terms.users = len(p.users)
	if len(s.Known) > 0 {
		p.terms.start = p.begin()
	}
	return p
}

// begin is the state that the known holds make.
func (p part) begin() string {
	state := p.terms.initial()
	for _, k := range p.sale.Known {
		s := step{hold: p.holds[k.ID], user: p.users[k.User], size: p.size(k.Size)}
		if k.Status == cancelled || k.Status == lapsed { // and counted no more
			state = state[:s.hold] + string([]byte{k.Status}) + state[s.hold+1:]
			continue
		}
		if state = p.terms.become(state, s, live); k.Status != live {
			state = p.terms.become(state, s, k.Status)
		}
	}
	return state
}

func (p part) size(name string) int { return max(0, slices.Index(p.sale.Sizes, name)) }

// steps are the operations, and what time does to each hold: its deadline, and
// its lapse within the interval that lapse gives.
func (p part) steps(ops []op, lapse func(id, deadline int64) (from, to int64)) []porcupine.Operation {
	type hold struct {
		step
		deadline int64
	}
	holds := map[int64]hold{}
	for _, k := range p.sale.Known {
		if k.Status == live || k.Status == due {
			holds[k.ID] = hold{step{
				hold: p.holds[k.ID], user: p.users[k.User], size: p.size(k.Size), result: done,
				origin: op{Kind: reserve, ID: k.ID, User: k.User, Size: k.Size},
			}, k.Deadline}
		} else {
			holds[k.ID] = hold{step: step{hold: p.holds[k.ID], user: p.users[k.User], size: p.size(k.Size)}}
		}
	}
	var last int64
	for _, o := range ops {
		if o.Return < never {
			last = max(last, o.Return)
		}
		if o.Kind == reserve && o.acknowledged() {
			if _, ok := holds[o.ID]; !ok {
				holds[o.ID] = hold{
					step{hold: p.holds[o.ID], user: p.users[o.User], size: p.size(o.Size), result: done, origin: o},
					o.Deadline,
				}
			}
		}
	}
	var out []porcupine.Operation
	clients := 0
	add := func(client int, s step, call, ret int64) {
		clients = max(clients, client)
		out = append(out, porcupine.Operation{ClientId: client, Input: s, Output: s.result, Call: call, Return: ret})
	}
	for _, o := range ops {
		call, ret := o.Call, o.Return
		if p.hint {
			call, ret = narrowed(o)
		}
		s := step{hold: -1, user: p.users[o.User], size: p.size(o.Size), result: o.Result, origin: o}
		switch o.Kind {
		case reserve:
			s.verb = stepReserve
			if index, ok := p.keys[o.Key]; ok {
				s.hold = index
			}
			if o.ID != 0 {
				s.hold = p.holds[o.ID]
			}
			if !o.acknowledged() && o.Result != unknown {
				s.verb = stepRefuse
			}
			if o.Result == unknown {
				// Whoever it was for, the hold of it lapses in the end.
				l := s
				l.verb = stepLapse
				add(o.Client, l, o.Call+p.sale.Hold.Nanoseconds(), never)
			}
		case purchase, cancel:
			h, ok := holds[o.ID]
			if !ok && o.Result == unknown {
				continue // of a hold that is not in this history
			}
			s.hold, s.user, s.size = p.holds[o.ID], h.user, h.size
			s.verb = stepPurchase
			if o.Kind == cancel {
				s.verb = stepCancel
			}
		case stock:
			if !o.acknowledged() {
				continue
			}
			s.verb, s.read = stepRead, o.Stock
		}
		add(o.Client, s, call, ret)
	}
	clock := clients + 1 // the clients that time is
	for _, id := range slices.Sorted(maps.Keys(holds)) {
		h := holds[id]
		if h.deadline == 0 || h.deadline*1e6-clockSlack > last {
			continue
		}
		s := h.step
		s.verb = stepDue
		add(clock, s, h.deadline*1e6-clockSlack, h.deadline*1e6+clockSlack)
		from, to := lapse(id, h.deadline)
		s.verb = stepLapse
		add(clock+1, s, from, max(from, to))
		clock += 2
	}
	slices.SortStableFunc(out, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	return out
}

// narrowed is the interval of an operation within the millisecond that Redis
// says it was done in.
func narrowed(o op) (call, ret int64) {
	if o.At == 0 || !o.acknowledged() || o.Result == repeated {
		return o.Call, o.Return
	}
	call, ret = max(o.Call, o.At*1e6), min(o.Return, o.At*1e6+999_999)
	if call > ret {
		return o.Call, o.Return
	}
	return call, ret
}

// resolve says of the operations of unknown outcome whether they happened, as
// far as the stores tell, and when each hold lapsed.
func resolve(s sale, ops []op, fates map[int64]fate) (resolved []op, lapses map[int64]int64) {
	lapses = map[int64]int64{}
	told := map[int64]bool{}
	for _, k := range s.Known {
		told[k.ID] = true
	}
	for _, o := range ops {
		if o.Kind == reserve && o.ID != 0 {
			told[o.ID] = true
		}
	}
	claimed := map[int64]bool{} // purchases and cancels that an operation accounts for
	for _, o := range ops {
		claimed[o.ID] = claimed[o.ID] || o.Kind != reserve && (o.Result == done || o.Kind == cancel && o.acknowledged())
	}
	untold := make([]int64, 0)
	for _, id := range slices.Sorted(maps.Keys(fates)) {
		if !told[id] {
			untold = append(untold, id)
		}
		if f := fates[id]; f.Status == "expired" {
			lapses[id] = f.Ended
		}
	}
	for _, o := range ops {
		if o.Result != unknown {
			resolved = append(resolved, o)
			continue
		}
		switch o.Kind {
		case reserve:
			i := slices.IndexFunc(untold, func(id int64) bool {
				f := fates[id]
				if f.Key != "" {
					return f.Key == o.Key
				}
				return f.User == o.User && f.Size == o.Size && (f.Created+1)*1e6 > o.Call
			})
			if i < 0 {
				continue // it never happened
			}
			f := fates[untold[i]]
			o.ID, o.Result, o.At, o.Deadline = untold[i], either, f.Created, f.Deadline
			untold = slices.Delete(untold, i, i+1)
		case purchase, cancel:
			f, wanted := fates[o.ID], "completed"
			if o.Kind == cancel {
				wanted = "cancelled"
			}
			if f.Status != wanted || claimed[o.ID] || (f.Ended+1)*1e6 <= o.Call {
				continue
			}
			claimed[o.ID] = true
			o.Result, o.At = either, f.Ended
		case stock:
			continue
		}
		resolved = append(resolved, o)
	}
	return resolved, lapses
}

func (v verdict) String() string { return fmt.Sprint(v.result) }
