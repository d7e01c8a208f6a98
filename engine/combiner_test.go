package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// sent is a combiner of numbers whose calls are seen, and held up while gate has
// nothing to give.
type sent struct {
	*combiner[int, int]
	gate chan struct{}

	mu      sync.Mutex
	batches map[int64][][]int // by drop
}

func newSent(limits combinerLimits) *sent {
	s := &sent{gate: make(chan struct{}, 1<<20), batches: map[int64][][]int{}}
	limits.timeout = time.Minute
	s.combiner = newCombiner(limits, func(_ context.Context, drop int64, batch []*member[int, int]) {
		reqs := make([]int, 0, len(batch))
		for _, m := range batch {
			reqs = append(reqs, m.req)
			m.res = 2 * m.req
			if m.req%3 == 0 {
				m.err = ErrOutOfStock
			}
		}
		s.mu.Lock()
		s.batches[drop] = append(s.batches[drop], reqs)
		s.mu.Unlock()
		<-s.gate
	})
	return s
}

func (s *sent) open(calls int) {
	for range calls {
		s.gate <- struct{}{}
	}
}

// waiting waits until n requests of the drop wait behind calls under way.
func (s *sent) waiting(t *testing.T, drop int64, n int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s.combiner.mu.Lock()
		l := s.lanes[drop]
		have := -1
		if l != nil {
			have = len(l.waiting)
		}
		s.combiner.mu.Unlock()
		s.mu.Lock()
		calls := len(s.batches[drop])
		s.mu.Unlock()
		if have == n && calls > 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d requests wait for drop %d, want %d", have, drop, n)
		}
	}
}

func TestCombinerGivesEachItsOwn(t *testing.T) {
	t.Parallel()
	s := newSent(combinerLimits{batch: 8, queue: 1000, inFlight: 2})
	s.open(1 << 20)
	var all sync.WaitGroup
	for worker := range 50 {
		all.Go(func() {
			for i := range 200 {
				req := worker*1000 + i
				res, err := s.do(t.Context(), int64(req%7), req)
				if res != 2*req || (req%3 == 0) != errors.Is(err, ErrOutOfStock) {
					t.Errorf("%d got %d, %v", req, res, err)
				}
			}
		})
	}
	all.Wait()
	s.stop()
	if len(s.lanes) != 0 {
		t.Errorf("%d lanes are left", len(s.lanes))
	}
	seen := map[int]bool{}
	for _, batches := range s.batches {
		for _, batch := range batches {
			if len(batch) > 8 {
				t.Errorf("a batch of %d", len(batch))
			}
			for _, req := range batch {
				if seen[req] {
					t.Errorf("%d was sent twice", req)
				}
				seen[req] = true
			}
		}
	}
	if len(seen) != 50*200 {
		t.Errorf("%d sent", len(seen))
	}
}

func TestCombinerSendsTogetherWhatCameMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSent(combinerLimits{batch: 64, queue: 100, inFlight: 1})
	var all sync.WaitGroup
	all.Go(func() { _, _ = s.do(t.Context(), 1, 1) })
	s.waiting(t, 1, 0)
	for i := range 70 {
		all.Go(func() { _, _ = s.do(t.Context(), 1, 10+i) })
	}
	s.waiting(t, 1, 70)

	// Another drop does not wait for them.
	other := make(chan struct{})
	all.Go(func() { _, _ = s.do(t.Context(), 2, 1); close(other) })
	s.waiting(t, 2, 0)

	s.open(4)
	all.Wait()
	<-other
	if b := s.batches[1]; len(b) != 3 || len(b[0]) != 1 || len(b[1]) != 64 || len(b[2]) != 6 {
		t.Errorf("batches %v, want 1, 64 and 6", b)
	}
}

func TestCombinerDoesNotSendWhatNobodyWaitsFor(t *testing.T) {
	t.Parallel()
	s := newSent(combinerLimits{batch: 64, queue: 2, inFlight: 1})
	var all sync.WaitGroup
	all.Go(func() { _, _ = s.do(t.Context(), 1, 1) })
	s.waiting(t, 1, 0)
	all.Go(func() { _, _ = s.do(t.Context(), 1, 2) })
	s.waiting(t, 1, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var left atomic.Value
	all.Go(func() {
		_, err := s.do(ctx, 1, 4)
		left.Store(err)
	})
	s.waiting(t, 1, 2)
	if _, err := s.do(t.Context(), 1, 5); !errors.Is(err, ErrOverloaded) {
		t.Errorf("a request beyond the queue: %v", err)
	}
	cancel()
	s.waiting(t, 1, 1) // its place is free
	all.Go(func() {
		if res, err := s.do(t.Context(), 1, 7); res != 14 || err != nil {
			t.Errorf("7 got %d, %v", res, err)
		}
	})
	s.waiting(t, 1, 2)
	s.open(2)
	all.Wait()
	if err, _ := left.Load().(error); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) || !nothingDone(err) {
		t.Errorf("who left got %v", err)
	}
	if b := s.batches[1]; len(b) != 2 || len(b[1]) != 2 || b[1][0] != 2 || b[1][1] != 7 {
		t.Errorf("batches %v, want [1] and [2 7]", b)
	}
}

// What was sent when its caller left may have been done.
func TestCombinerDoesNotKnowOfWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	s := newSent(combinerLimits{batch: 64, queue: 2, inFlight: 1})
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := s.do(ctx, 1, 1); left <- err }()
	s.waiting(t, 1, 0)
	cancel()
	if err := <-left; !errors.Is(err, ErrUnavailable) || nothingDone(err) {
		t.Errorf("who left got %v", err)
	}
	s.open(1)
	s.stop()
}

func TestCombinerStops(t *testing.T) {
	t.Parallel()
	s := newSent(combinerLimits{batch: 1, queue: 10, inFlight: 1})
	outcomes := make(chan error, 2)
	go func() { _, err := s.do(t.Context(), 1, 1); outcomes <- err }()
	s.waiting(t, 1, 0)
	waits := make(chan error, 1)
	go func() { _, err := s.do(t.Context(), 1, 2); waits <- err }()
	s.waiting(t, 1, 1)
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	for s.combiner.mu.Lock(); !s.stopped; s.combiner.mu.Lock() {
		s.combiner.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	s.combiner.mu.Unlock()
	if _, err := s.do(t.Context(), 3, 3); !errors.Is(err, ErrOverloaded) {
		t.Errorf("after the stop: %v", err)
	}
	s.open(1)
	if err := <-outcomes; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if err := <-waits; !errors.Is(err, ErrOverloaded) {
		t.Errorf("what waited: %v", err)
	}
	<-stopped
}
