package fault

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// TestBefore cuts a history where Redis forgets all: what came before is
// judged, and what was under way counts as unknown.
func TestBefore(t *testing.T) {
	t.Parallel()
	s := sale{Sizes: []string{""}, Totals: []int{1}, Hold: 500 * time.Millisecond}
	var l line
	l.reserve(0, 1, 7, 1, 500, done).ask(purchase, 2, 20, 1, done).read(3, 12, 0, 0, 1)
	l.reserve(30, 31, 8, 2, 530, done) // the unit is sold again: the purchase was lost at 10
	lapseBy := func(deadline int64) int64 { return at(deadline + 2000) }
	if v := check(s, l, nil, lapseBy); v.result != porcupine.Illegal {
		t.Fatalf("the whole is %v", v.result)
	}
	if v := check(s, before(l, at(10)), nil, lapseBy); v.result != porcupine.Ok {
		t.Errorf("what came before is %v", v.result)
	}
	l = nil
	l.reserve(0, 1, 7, 1, 500, done).reserve(2, 3, 8, 2, 530, done).read(20, 21, 1, 0, 0)
	if v := check(s, before(l, at(10)), nil, lapseBy); v.result != porcupine.Illegal {
		t.Errorf("an oversell before is %v", v.result)
	}
}

// TestAfter begins a history with a snapshot.
func TestAfter(t *testing.T) {
	t.Parallel()
	s := sale{Sizes: []string{""}, Totals: []int{3}, Hold: 500 * time.Millisecond}
	snap := snapshot{
		from: at(100), to: at(102),
		holds: map[int64]known{
			1: {ID: 1, User: 7, Key: "a", Status: live, Deadline: 400},
			2: {ID: 2, User: 8, Key: "b", Status: sold},
		},
		keys: map[string]int64{"a": 1, "b": 2},
	}
	lapseBy := func(deadline int64) int64 { return at(deadline + 2000) }
	fates := map[int64]fate{1: {Status: "completed"}, 2: {Status: "completed"}, 3: {Status: "active"}, 4: {Status: "active"}}
	for name, c := range map[string]struct {
		ops  func(*line)
		want porcupine.CheckResult
	}{
		"goes on": {func(l *line) {
			l.read(103, 104, 1, 1, 1).reserve(105, 106, 9, 3, 606, done).reserve(107, 108, 9, 0, 0, "out_of_stock").
				ask(purchase, 110, 111, 1, done).ask(purchase, 112, 113, 2, repeated)
		}, porcupine.Ok},
		"what was under way counts once": {func(l *line) {
			l.reserve(90, 103, 7, 1, 400, done).key("a").ask(purchase, 95, 110, 2, done).
				reserve(99, 104, 9, 3, 600, done).read(105, 106, 0, 2, 1)
		}, porcupine.Ok},
		"what was under way is lost": {func(l *line) {
			l.reserve(90, 120, 9, 5, 600, done).reserve(91, 121, 9, 6, 600, done).ask(purchase, 125, 126, 5, expired).
				read(130, 131, 1, 1, 1)
		}, porcupine.Ok},
		"what was under way is not lost, and has no room": {func(l *line) {
			l.reserve(90, 120, 9, 3, 600, done).reserve(91, 121, 9, 4, 600, done)
		}, porcupine.Illegal},
		"what is lost has lapsed": {func(l *line) {
			l.reserve(5, 6, 9, 5, 600, done).ask(purchase, 103, 104, 5, expired).read(105, 106, 1, 1, 1)
		}, porcupine.Ok},
		"what is lost is sold all the same": {func(l *line) {
			l.reserve(5, 6, 9, 5, 600, done).ask(purchase, 103, 104, 5, done)
		}, porcupine.Illegal},
		"a live hold lapses": {func(l *line) { l.read(2500, 2501, 2, 0, 1) }, porcupine.Ok},
		"a live hold stays":  {func(l *line) { l.read(2500, 2501, 1, 1, 1) }, porcupine.Illegal},
		"oversell": {func(l *line) {
			l.reserve(103, 104, 9, 3, 604, done).reserve(105, 106, 9, 4, 606, done)
		}, porcupine.Illegal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l line
			c.ops(&l)
			begun, rest := after(s, l, snap, fates)
			if v := check(begun, rest, nil, lapseBy); v.result != c.want {
				t.Errorf("%v, want %v", v.result, c.want)
			}
		})
	}
}
