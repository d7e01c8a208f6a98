package fault

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

func (l *line) via(instance string) *line { (*l)[len(*l)-1].Via = instance; return l }

// made says when Redis did it.
func (l *line) made(ms int64) *line { (*l)[len(*l)-1].At = ms; return l }

// TestAgedReads judges what an instance shows from its memory.
func TestAgedReads(t *testing.T) {
	t.Parallel()
	s := sale{Sizes: []string{""}, Totals: []int{3}, Hold: time.Hour}
	for name, c := range map[string]struct {
		ops  func(*line)
		want porcupine.CheckResult
	}{
		"a change elsewhere, not shown yet": {func(l *line) {
			l.reserve(0, 1, 7, 1, 9e6, done).via("a").read(990, 991, 3, 0, 0).via("b")
		}, porcupine.Ok},
		"a change elsewhere, not shown for long": {func(l *line) {
			l.reserve(0, 1, 7, 1, 9e6, done).via("a").read(1002, 1003, 3, 0, 0).via("b")
		}, porcupine.Illegal},
		"a change here, not shown": {func(l *line) {
			l.reserve(0, 1, 7, 1, 9e6, done).via("a").read(2, 3, 3, 0, 0).via("a")
		}, porcupine.Illegal},
		"a change here, not answered yet": {func(l *line) {
			l.reserve(0, 5, 7, 1, 9e6, done).via("a").read(2, 3, 3, 0, 0).via("a")
		}, porcupine.Ok},
		"a change here and an earlier one elsewhere": {func(l *line) {
			l.reserve(0, 1, 7, 1, 9e6, done).via("a").reserve(2, 3, 8, 2, 9e6, done).via("b").read(4, 5, 2, 1, 0).via("b")
		}, porcupine.Illegal},
		"a change here and a later one elsewhere": {func(l *line) {
			l.reserve(0, 1, 7, 1, 9e6, done).via("a").reserve(2, 3, 8, 2, 9e6, done).via("b").read(4, 5, 2, 1, 0).via("a")
		}, porcupine.Ok},
		"a change here, and one elsewhere while its answer was on the way": {func(l *line) {
			l.reserve(0, 9, 7, 1, 9e6, done).via("a").made(1).reserve(3, 5, 8, 2, 9e6, done).via("b").read(10, 11, 2, 1, 0).via("a")
		}, porcupine.Ok},
		"a change here, whose answer was long on the way, not shown": {func(l *line) {
			l.reserve(0, 9, 7, 1, 9e6, done).via("a").made(1).read(10, 11, 3, 0, 0).via("a")
		}, porcupine.Illegal},
		"what never was": {func(l *line) {
			l.reserve(0, 1, 7, 1, 9e6, done).via("a").reserve(2, 3, 8, 2, 9e6, done).via("b").read(4, 5, 2, 0, 1).via("c")
		}, porcupine.Illegal},
		"what is to come": {func(l *line) {
			l.read(0, 1, 2, 1, 0).via("c").reserve(2, 3, 7, 1, 9e6, done).via("a")
		}, porcupine.Illegal},
		"an instance that keeps nothing": {func(l *line) {
			l.reserve(0, 1, 7, 1, 9e6, done).read(2, 3, 3, 0, 0)
		}, porcupine.Illegal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l line
			c.ops(&l)
			if v := check(s, l, nil, func(deadline int64) int64 { return at(deadline + 2000) }); v.result != c.want {
				t.Errorf("%v, want %v", v.result, c.want)
			}
		})
	}
}
