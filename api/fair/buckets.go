package fair

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// shards is over how many locks the buckets are spread.
const shards = 32

// buckets has a token bucket for each key that was seen lately, a fixed number
// of them: when a shard is full, the one that was idle longest goes, and would be
// full again if it came back.
type buckets[K comparable] struct {
	seed   maphash.Seed
	shards [shards]shard[K]
}

type shard[K comparable] struct {
	mu    sync.Mutex
	known *simplelru.LRU[K, *rate.Limiter]
}

// newBuckets has room for most keys, rounded up to the shards.
func newBuckets[K comparable](most int) *buckets[K] {
	b := &buckets[K]{seed: maphash.MakeSeed()}
	for i := range b.shards {
		// Its only error is a size below one.
		b.shards[i].known, _ = simplelru.NewLRU[K, *rate.Limiter](max(1, (most+shards-1)/shards), nil)
	}
	return b
}

// take takes a token out of the key's bucket. Where there is none, it says after
// how long there is one.
func (b *buckets[K]) take(key K, r Rate, now time.Time) (wait time.Duration) {
	s := &b.shards[maphash.Comparable(b.seed, key)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	bucket, ok := s.known.Get(key)
	if !ok {
		bucket = rate.NewLimiter(rate.Limit(r.PerSecond), r.Burst)
		s.known.Add(key, bucket)
	}
	if bucket.AllowN(now, 1) {
		return 0
	}
	missing := 1 - bucket.TokensAt(now)
	return max(time.Duration(missing/r.PerSecond*float64(time.Second)), time.Nanosecond)
}
