package fault

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// at is a moment, in milliseconds of a test's history.
func at(ms int64) int64 { return ms * int64(time.Millisecond) }

// line builds a history by hand; times are milliseconds.
type line []op

func (l *line) reserve(call, ret, user, id, deadline int64, result string) *line {
	*l = append(*l, op{
		Kind: reserve, User: user, Key: "k" + string(rune('a'+len(*l))), ID: id, Call: at(call), Return: at(ret),
		Result: result, Deadline: deadline,
	})
	return l
}

func (l *line) key(k string) *line { (*l)[len(*l)-1].Key = k; return l }

func (l *line) ask(k kind, call, ret, id int64, result string) *line {
	*l = append(*l, op{Kind: k, ID: id, Call: at(call), Return: at(ret), Result: result})
	return l
}

func (l *line) read(call, ret int64, available, held, sold int) *line {
	*l = append(*l, op{
		Kind: stock, Call: at(call), Return: at(ret), Result: done,
		Stock: []pool{{Total: available + held + sold, Available: available, Held: held, Sold: sold}},
	})
	return l
}

const expired = "reservation_expired"

func TestModel(t *testing.T) {
	t.Parallel()
	type history struct {
		total, limit int
		ops          func(*line)
		want         porcupine.CheckResult
	}
	legal, illegal := porcupine.Ok, porcupine.Illegal
	for name, c := range map[string]history{
		"sold and repeated": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).ask(purchase, 2, 3, 1, done).ask(purchase, 4, 5, 1, repeated).
				reserve(6, 7, 8, 0, 0, "out_of_stock").read(8, 9, 0, 0, 1)
		}, legal},
		"oversell": {1, 0, func(l *line) {
			l.reserve(0, 5, 7, 1, 500, done).reserve(1, 6, 8, 2, 500, done)
		}, illegal},
		"oversell after a sale": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).ask(purchase, 2, 3, 1, done).reserve(600, 601, 8, 2, 1100, done)
		}, illegal},
		"one hold sold twice": {2, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).ask(purchase, 2, 5, 1, done).ask(purchase, 2, 5, 1, done)
		}, illegal},
		"an id given twice": {2, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).reserve(2, 3, 8, 1, 500, done)
		}, illegal},
		"purchase after the deadline": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).ask(purchase, 504, 505, 1, done)
		}, illegal},
		"purchase at the deadline": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).ask(purchase, 499, 520, 1, done)
		}, legal},
		"purchase after the lapse": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).reserve(502, 503, 8, 2, 1100, done).ask(purchase, 504, 505, 1, done)
		}, illegal},
		"refused as expired before the deadline": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).ask(purchase, 300, 400, 1, expired).read(600, 601, 1, 0, 0)
		}, illegal},
		"refused as expired": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).ask(purchase, 490, 501, 1, expired).read(501, 502, 0, 1, 0).read(503, 504, 1, 0, 0)
		}, legal},
		"sold though it was refused as expired": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).ask(purchase, 490, 501, 1, expired).ask(purchase, 502, 510, 1, repeated)
		}, illegal},
		"limit broken": {3, 1, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).reserve(2, 3, 7, 2, 500, done)
		}, illegal},
		"limit kept": {3, 1, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).reserve(2, 3, 7, 0, 0, "limit_reached").ask(cancel, 4, 5, 1, either).
				reserve(6, 7, 7, 2, 500, done)
		}, legal},
		"refused by a limit that is not reached": {3, 1, func(l *line) {
			l.reserve(0, 1, 7, 0, 0, "limit_reached")
		}, illegal},
		"refused though there is stock": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 0, 0, "out_of_stock")
		}, illegal},
		"stale read": {2, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).read(2, 3, 2, 0, 0)
		}, illegal},
		"a read of two moments": {2, 0, func(l *line) {
			l.reserve(0, 10, 7, 1, 500, done).read(1, 2, 1, 1, 0).read(3, 4, 2, 0, 0)
		}, illegal},
		"a ghost: the unit of a lapsed hold does not come back in time": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).read(4000, 4001, 0, 1, 0)
		}, illegal},
		"cancelled and purchased": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).ask(cancel, 2, 9, 1, either).ask(purchase, 2, 9, 1, done)
		}, illegal},
		"of a cancel and a purchase one wins": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).ask(cancel, 2, 9, 1, "reservation_completed").ask(purchase, 2, 9, 1, done)
		}, legal},
		"an unknown reserve may have happened": {1, 0, func(l *line) {
			l.reserve(0, 3, 7, 0, 0, unknown).reserve(4, 5, 8, 0, 0, "out_of_stock")
		}, legal},
		"an unknown reserve may not have happened": {1, 0, func(l *line) {
			l.reserve(0, 3, 7, 0, 0, unknown).reserve(4, 5, 8, 2, 504, done)
		}, legal},
		"an unknown reserve takes one unit": {2, 0, func(l *line) {
			l.reserve(0, 3, 7, 0, 0, unknown).read(4, 5, 0, 2, 0)
		}, illegal},
		"an unknown reserve happens late and lapses": {1, 0, func(l *line) {
			l.reserve(0, 3, 7, 0, 0, unknown).read(4, 5, 1, 0, 0).read(100, 101, 0, 1, 0).read(800, 801, 1, 0, 0)
		}, legal},
		"an unknown reserve does not lapse before its hold": {1, 0, func(l *line) {
			l.reserve(0, 3, 7, 0, 0, unknown).read(4, 5, 0, 1, 0).read(100, 101, 1, 0, 0)
		}, illegal},
		"a repeated reserve is one": {2, 0, func(l *line) {
			l.reserve(0, 3, 7, 0, 0, unknown).key("k").read(4, 5, 1, 1, 0).
				reserve(6, 7, 7, 1, 500, repeated).key("k").read(8, 9, 1, 1, 0)
		}, legal},
		"a repeated reserve took two": {2, 0, func(l *line) {
			l.reserve(0, 3, 7, 0, 0, unknown).key("k").reserve(6, 7, 7, 1, 500, repeated).key("k").read(8, 9, 0, 2, 0)
		}, illegal},
		"a repeat is refused though the key has a hold": {2, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).key("k").reserve(6, 7, 7, 0, 0, "out_of_stock").key("k")
		}, illegal},
		"a repeat after a refusal": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).reserve(2, 3, 8, 0, 0, "out_of_stock").key("k").ask(cancel, 4, 5, 1, either).
				reserve(6, 7, 8, 2, 506, done).key("k")
		}, legal},
		"an unknown purchase may have happened": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).ask(purchase, 2, 3, 1, unknown).read(4, 5, 0, 0, 1).ask(purchase, 600, 601, 1, repeated)
		}, legal},
		"an unknown purchase may not have happened": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).ask(purchase, 2, 3, 1, unknown).read(600, 601, 1, 0, 0).ask(purchase, 602, 603, 1, expired)
		}, legal},
		"an unknown purchase cannot happen after the deadline": {1, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).ask(purchase, 2, 3, 1, unknown).read(504, 505, 0, 1, 0).read(506, 507, 0, 0, 1)
		}, illegal},
		"an unknown cancel gives back once": {2, 0, func(l *line) {
			l.reserve(0, 1, 7, 1, 500, done).reserve(0, 1, 8, 2, 500, done).ask(cancel, 2, 3, 1, unknown).
				ask(cancel, 4, 5, 1, either).read(6, 7, 2, 0, 0)
		}, illegal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l line
			c.ops(&l)
			s := sale{Sizes: []string{""}, Totals: []int{c.total}, Limit: c.limit, Hold: 500 * time.Millisecond}
			lapseBy := func(deadline int64) int64 { return at(deadline + 2000) }
			if got := check(s, l, nil, lapseBy); got.result != c.want {
				t.Errorf("%v, want %v", got.result, c.want)
				for _, o := range merged(l) {
					t.Log(o)
				}
			}
		})
	}
}

// TestHints has the stores' help change no verdict.
func TestHints(t *testing.T) {
	t.Parallel()
	var l line
	l.reserve(0, 3, 7, 0, 0, unknown).read(4, 5, 0, 1, 0).read(800, 801, 1, 0, 0)
	s := sale{Sizes: []string{""}, Totals: []int{1}, Hold: 500 * time.Millisecond}
	lapseBy := func(deadline int64) int64 { return at(deadline + 2000) }
	for name, fates := range map[string]map[int64]fate{
		"right":   {1: {User: 7, Status: "expired", Created: 1, Deadline: 501, Ended: 501}},
		"wrong":   {1: {User: 7, Status: "expired", Created: 1, Deadline: 501, Ended: 900}},
		"missing": {},
	} {
		if got := check(s, l, fates, lapseBy); got.result != porcupine.Ok {
			t.Errorf("%s: %v", name, got.result)
		}
	}
}

// TestShrink finds the three operations that matter among many.
func TestShrink(t *testing.T) {
	t.Parallel()
	var l line
	for i := range int64(30) {
		l.reserve(10*i, 10*i+1, i, 100+i, 10*i+500, done).ask(cancel, 10*i+2, 10*i+3, 100+i, either).read(10*i+4, 10*i+5, 1, 0, 0)
	}
	l.reserve(400, 401, 7, 1, 900, done).ask(purchase, 402, 403, 1, done)
	l.reserve(404, 405, 8, 2, 904, done)
	for i := range int64(10) {
		l.read(500+10*i, 501+10*i, 0, 1, 1)
	}
	s := sale{Sizes: []string{""}, Totals: []int{1}, Hold: 500 * time.Millisecond}
	v := check(s, l, nil, func(deadline int64) int64 { return at(deadline + 2000) })
	if v.result != porcupine.Illegal {
		t.Fatalf("an oversell is %v", v.result)
	}
	if short := shrink(v.part.terms, v.steps); len(short) > 3 {
		t.Errorf("%d operations are left", len(short))
		for _, o := range short {
			t.Log(stepOf(o))
		}
	}
}
