package loadtest

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast/holdfast/cmd/load"
)

// screen shows how a test goes.
type screen struct {
	to     io.Writer
	redraw bool // one line again and again
	drawn  bool // such a line stands there

	at   time.Duration // of the last
	last visitors
}

// visitors are visits by what came of them.
type visitors struct{ won, refused, failed, looked int64 }

func countVisitors(visits map[load.Outcome]int64) (v visitors) {
	for o, n := range visits {
		switch {
		case o.Kind == load.Failed:
			v.failed += n
		case o.Kind == load.Refused:
			v.refused += n
		case o.Code == gotLooked:
			v.looked += n
		default:
			v.won += n
		}
	}
	return v
}

func (s *screen) linef(format string, args ...any) { fmt.Fprintf(s.to, format+"\n", args...) }

// progress says what came of the visits since it was last called.
func (s *screen) progress(elapsed time.Duration, visits map[load.Outcome]int64, stock *sampler) {
	now := countVisitors(visits)
	seconds := (elapsed - s.at).Seconds()
	rate := func(now, last int64) string { return grouped(int64(float64(now-last) / seconds)) }
	var b strings.Builder
	fmt.Fprintf(&b, "%5.0f s  %8s won/s  %8s refused/s", elapsed.Seconds(), rate(now.won, s.last.won), rate(now.refused, s.last.refused))
	if now.looked > 0 {
		fmt.Fprintf(&b, "  %8s looked/s", rate(now.looked, s.last.looked))
	}
	fmt.Fprintf(&b, "  %s failed/s", rate(now.failed, s.last.failed))
	p := stock.last()
	fmt.Fprintf(&b, "  %s available, %s held, %s sold", grouped(p.Available), grouped(p.Held), grouped(p.Sold))
	s.at, s.last = elapsed, now
	if s.redraw {
		s.drawn = true
		fmt.Fprintf(s.to, "\r\x1b[K%s", b.String())
		return
	}
	s.linef("%s", b.String())
}

// end leaves the cursor on a line of its own.
func (s *screen) end() {
	if s.drawn {
		s.linef("")
	}
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int64) string {
	if n < 0 {
		return "-" + grouped(-n)
	}
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
