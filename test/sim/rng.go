package sim

// rng is splitmix64: a seed is its whole state, and the same on every platform.
type rng struct{ state uint64 }

func (r *rng) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// n is a number in 0 … k-1.
func (r *rng) n(k int) int { return int((r.next() >> 32) * uint64(k) >> 32) }

// one is true once in k times.
func (r *rng) one(k int) bool { return r.n(k) == 0 }
