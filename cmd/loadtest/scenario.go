package loadtest

import (
	"math/rand/v2"
	"net/http"
	"strconv"

	"github.com/holdfast/holdfast/cmd/load"
)

// What came of a visit that was no failure.
const (
	gotHeld      = "held"
	gotBought    = "bought"
	gotCancelled = "cancelled"
	gotLeft      = "walked_away" // and left the hold to lapse
	gotLooked    = "looked"
)

// Shares of the visits.
const (
	shareLetGo = 0.1 // of those who hold a unit, do not buy it: half of them cancel, half walk away
	shareList  = 0.2 // of those who look, look at the list
	// Of mixed visits:
	shareLook = 0.7
	shareBuy  = 0.2 // the rest hold a unit and let it go
)

// calls are what a visit is made of, by the names under which they are reported.
type calls struct {
	reserve, purchase, cancel, list, drop *load.Call
}

func newCalls(base string, drop int64) (c calls, err error) {
	for _, p := range []struct {
		call         **load.Call
		name, method string
		path         string
	}{
		{&c.reserve, "reserve", http.MethodPost, "/api/drops/reserve"},
		{&c.purchase, "purchase", http.MethodPost, "/api/drops/purchase"},
		{&c.cancel, "cancel", http.MethodPost, "/api/drops/cancel"},
		{&c.list, "list", http.MethodGet, "/api/drops"},
		{&c.drop, "drop", http.MethodGet, "/api/drops/" + strconv.FormatInt(drop, 10)},
	} {
		if *p.call, err = load.NewCall(p.name, p.method, base, p.path); err != nil {
			return c, err
		}
	}
	return c, nil
}

// visits are the scenarios as steps of the load.
type visits struct {
	calls  calls
	drop   int64
	buyers []*buyer
	memory *memory
}

func (v *visits) step(s Scenario) load.Step {
	visit := v.checkout
	switch s {
	case Reserve, SoldOut:
		visit = v.hold
	case Browse:
		visit = v.look
	case Mixed:
		visit = v.mixed
	case Checkout:
	}
	return func(w *load.Worker) load.Outcome { return visit(w, v.buyers[w.N]) }
}

func (v *visits) mixed(w *load.Worker, b *buyer) load.Outcome {
	switch dice := rand.Float64(); {
	case dice < shareLook:
		return v.look(w, b)
	case dice < shareLook+shareBuy:
		return v.checkout(w, b)
	default:
		if _, o := v.reserve(w, b); o.Kind != load.Won {
			return o
		}
		return v.letGo(w, b)
	}
}

func (v *visits) hold(w *load.Worker, b *buyer) load.Outcome {
	_, o := v.reserve(w, b)
	return o
}

func (v *visits) checkout(w *load.Worker, b *buyer) load.Outcome {
	id, o := v.reserve(w, b)
	if o.Kind != load.Won {
		return o
	}
	if rand.Float64() < shareLetGo {
		return v.letGo(w, b)
	}
	return v.end(w, b, v.calls.purchase, id, bought, maybeBought, gotBought)
}

// letGo is what becomes of a hold that is not bought.
func (v *visits) letGo(w *load.Worker, b *buyer) load.Outcome {
	if rand.IntN(2) == 0 {
		return load.Outcome{Code: gotLeft}
	}
	return v.end(w, b, v.calls.cancel, b.ids[len(b.ids)-1], cancelled, maybeCancelled, gotCancelled)
}

// reserve asks for a unit, and notes the reservation.
func (v *visits) reserve(w *load.Worker, b *buyer) (id int64, o load.Outcome) {
	a := w.Do(v.calls.reserve, b.reserve)
	switch a.Kind {
	case load.Refused:
		return 0, a.Outcome
	case load.Failed:
		if a.Code != load.NoConnection {
			b.lost++
		}
		return 0, a.Outcome
	case load.Won:
	}
	id = b.check(&a, http.StatusCreated, v.drop)
	b.ids, b.ends = append(b.ids, id), append(b.ends, held)
	v.memory.take()
	return id, load.Outcome{Code: gotHeld}
}

// end buys or cancels the buyer's last reservation, and notes what became of it.
func (v *visits) end(w *load.Worker, b *buyer, call *load.Call, id int64, done, maybe end, got string) load.Outcome {
	b.body = append(strconv.AppendInt(append(b.body[:0], `{"reservationId":`...), id, 10), '}')
	a := w.Do(call, b.body)
	last := &b.ends[len(b.ends)-1]
	switch {
	case a.Kind == load.Won:
		*last = done
		status := http.StatusOK
		if call == v.calls.purchase {
			status = http.StatusCreated
		}
		if told := b.check(&a, status, v.drop); told != id {
			b.wrong.failedf("reservation %d was asked about, %d answered", id, told)
		}
		return load.Outcome{Code: got}
	case a.Kind == load.Failed:
		if a.Code != load.NoConnection {
			*last = maybe
		}
	case a.Code == "reservation_expired":
		*last = lapsed
	default:
		*last = vanished
	}
	return a.Outcome
}

// check sees whether an answer is about this buyer and this drop, and gives the
// id in it.
func (b *buyer) check(a *load.Answer, status int, drop int64) (id int64) {
	id, found := number(a.Body, nameID)
	user, _ := number(a.Body, nameUser)
	of, _ := number(a.Body, nameDrop)
	if !found || user != b.user || of != drop || a.Status != status {
		b.wrong.failedf("user %d of drop %d was answered %d %.200s", b.user, drop, a.Status, a.Body)
		return id
	}
	b.wrong.ok()
	return id
}

// look reads the list, or the drop unless the buyer has it as it is.
func (v *visits) look(w *load.Worker, b *buyer) load.Outcome {
	call := v.calls.drop
	if rand.Float64() < shareList {
		call = v.calls.list
	}
	var a load.Answer
	if call == v.calls.drop && b.etag != "" {
		a = w.Do(call, nil, "If-None-Match", b.etag)
	} else {
		a = w.Do(call, nil)
	}
	if a.Kind != load.Won {
		return a.Outcome
	}
	if id, _ := number(a.Body, nameID); a.Status == http.StatusOK && call == v.calls.drop {
		b.see(&a, id == v.drop)
	}
	return load.Outcome{Code: gotLooked}
}

// see remembers the drop's tag, and adds its counters up.
func (b *buyer) see(a *load.Answer, rightDrop bool) {
	if tag := a.Header("ETag"); string(tag) != b.etag {
		b.etag = string(tag)
	}
	c, total, found := countsIn(a.Body)
	if !found || !rightDrop || !c.addUp(total) {
		b.looks.failedf("%.300s", a.Body)
		return
	}
	b.looks.ok()
}
