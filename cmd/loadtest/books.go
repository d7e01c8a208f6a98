package loadtest

import "slices"

// books are what all buyers were told, together.
type books struct {
	ends  [vanished + 1]int64 // how many reservations ended how
	ids   []int64             // of all reservations, in order
	lost  int64               // calls to reserve without a certain answer
	wrong tally
	looks tally
}

func closeBooks(buyers []*buyer) *books {
	b := &books{}
	n := 0
	for _, p := range buyers {
		n += len(p.ids)
	}
	b.ids = make([]int64, 0, n)
	for _, p := range buyers {
		b.ids = append(b.ids, p.ids...)
		for _, e := range p.ends {
			b.ends[e]++
		}
		b.lost += p.lost
		b.wrong.add(p.wrong)
		b.looks.add(p.looks)
	}
	slices.Sort(b.ids)
	return b
}

// twice counts ids that were given more than once, and names one.
func (b *books) twice() (n, which int64) {
	for i := 1; i < len(b.ids); i++ {
		if b.ids[i] == b.ids[i-1] {
			n, which = n+1, b.ids[i]
		}
	}
	return n, which
}

// span is a number that is known but for calls without an answer.
type span struct{ least, most int64 }

func (s span) has(n int64) bool { return s.least <= n && n <= s.most }

// sold is how many units buyers bought.
func (b *books) sold() span {
	return span{b.ends[bought], b.ends[bought] + b.ends[maybeBought]}
}

// held is how many units buyers left held, where no hold has lapsed since.
func (b *books) held() span {
	sure := b.ends[held]
	return span{sure, sure + b.ends[maybeBought] + b.ends[maybeCancelled] + b.ends[vanished] + b.lost}
}

// gone is how many units are not for sale any more, where no hold has lapsed
// since.
func (b *books) gone() span {
	sure := b.ends[held] + b.ends[bought] + b.ends[maybeBought]
	return span{sure, sure + b.ends[maybeCancelled] + b.ends[vanished] + b.lost}
}

// cameBack is true where a unit may have come back during the test.
func (b *books) cameBack() bool {
	return b.ends[cancelled]+b.ends[maybeCancelled]+b.ends[lapsed] > 0
}
