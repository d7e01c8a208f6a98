package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// acks remembers what this engine acknowledged lately, so that work which a
// lost server took with it can be named. It is bounded: the oldest give way.
type acks struct {
	partitions []ackRing
}

// maxAcks is how many acknowledgements are remembered in all, about 75 MB when
// every partition sells at full speed. Of 16 partitions each has 65,536: two
// seconds of the fastest sale on one drop. A replica lags by less.
const maxAcks = 1 << 20

// ack is one acknowledgement, small since there are many.
type ack struct {
	id, user                   int64
	createdMS, deadlineMS, end int64 // Unix ms; end is 0 for a hold
	size                       string
	status                     Status
}

// ackRing grows up to its share of maxAcks and then overwrites its oldest.
type ackRing struct {
	mu   sync.Mutex
	ring []ack
	next int
}

func newAcks(partitions int) acks { return acks{partitions: make([]ackRing, partitions)} }

func (a *acks) share() int { return maxAcks / len(a.partitions) }

func (a *acks) keep(partition int, r Reservation) {
	ring := &a.partitions[partition]
	n := ack{
		id: r.ID, user: r.User, createdMS: r.Created.UnixMilli(), deadlineMS: r.Deadline.UnixMilli(),
		size: r.Size, status: r.Status,
	}
	if r.Status != StatusActive {
		n.end = r.Ended.UnixMilli()
	}
	ring.mu.Lock()
	defer ring.mu.Unlock()
	if len(ring.ring) < a.share() {
		ring.ring = append(ring.ring, n)
		return
	}
	ring.ring[ring.next] = n
	ring.next = (ring.next + 1) % len(ring.ring)
}

// all gives the newest acknowledgement of each reservation.
func (a *acks) all(partition int) map[int64]ack {
	ring := &a.partitions[partition]
	ring.mu.Lock()
	defer ring.mu.Unlock()
	newest := make(map[int64]ack, len(ring.ring))
	for i := range ring.ring {
		n := ring.ring[(ring.next+i)%len(ring.ring)]
		if before, ok := newest[n.id]; !ok || before.status == StatusActive {
			newest[n.id] = n
		}
	}
	return newest
}

// reservation is the acknowledgement as it was given.
func (n ack) reservation() Reservation {
	r := Reservation{
		ID: n.id, Drop: DropOf(n.id), User: n.user, Size: n.size, Status: n.status,
		Created: fromUnixMS(n.createdMS), Deadline: fromUnixMS(n.deadlineMS),
	}
	if n.status != StatusActive {
		r.Ended = fromUnixMS(n.end)
	}
	return r
}

// ackPage is how many acknowledgements are looked for in one round trip.
const ackPage = 500

// Unaccounted gives what this engine has acknowledged lately on a partition
// and Redis does not know: holds that should be live (StatusActive), purchases
// (StatusCompleted) and cancels (StatusCancelled). Each may have reached the history before
// Redis lost it, so look there too.
func (e *Engine) Unaccounted(ctx context.Context, partition int) ([]Reservation, error) {
	now, err := e.Now(ctx)
	if err != nil {
		return nil, err
	}
	var page, missing []Reservation
	look := func() error {
		gone, err := e.unknown(ctx, partition, page)
		missing = append(missing, gone...)
		page = page[:0]
		return err
	}
	for _, n := range e.acks.all(partition) {
		if n.status == StatusActive && n.deadlineMS <= now.Add(time.Second).UnixMilli() {
			continue // it may have lapsed in order
		}
		if page = append(page, n.reservation()); len(page) == ackPage {
			if err := look(); err != nil {
				return nil, err
			}
		}
	}
	return missing, look()
}

// unknown gives those that Redis does not know as they were acknowledged. The
// deadlines are read first: a hold that is sold in between has its receipt then.
func (e *Engine) unknown(ctx context.Context, partition int, acked []Reservation) ([]Reservation, error) {
	if len(acked) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	live := make([]*redis.FloatCmd, len(acked))
	receipts := make([]*redis.StringCmd, len(acked))
	var epoch *redis.StringCmd
	_, _ = e.redis.Pipelined(ctx, func(p redis.Pipeliner) error { // the commands have the errors
		// In the same breath: a server that was replaced would know all of it.
		epoch = p.HGet(ctx, e.keys.meta(partition), "epoch")
		for i, r := range acked {
			live[i] = p.ZScore(ctx, e.keys.deadlines(partition), describe(r))
		}
		for i, r := range acked {
			receipts[i] = p.HGet(ctx, e.keys.sold(r.Drop), strconv.FormatInt(seqOf(r.ID), 10))
		}
		return nil
	})
	if have, want := epoch.Val(), strconv.FormatInt(e.Epoch(partition), 10); epoch.Err() != nil || have != want {
		return nil, fmt.Errorf("%w: partition %d: epoch %q, not %s", ErrUnavailable, partition, have, want)
	}
	var gone []Reservation
	for i, r := range acked {
		for _, err := range []error{live[i].Err(), receipts[i].Err()} {
			if err != nil && !errors.Is(err, redis.Nil) {
				return nil, unavailable(err)
			}
		}
		end, endErr := parseEnd(receipts[i].Val())
		switch {
		case endErr == nil && (r.Status == StatusActive || end.Status == r.Status) && end.User == r.User:
		case r.Status == StatusActive && live[i].Err() == nil:
		default:
			gone = append(gone, r)
		}
	}
	return gone, nil
}
