package engine

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// memoryWatch looks at Redis's memory, so that holds stop to begin before
// nothing can be written any more: what ends them needs room too.
type memoryWatch struct {
	pressed atomic.Bool
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// memoryEvery is how often Redis's memory is looked at. At full speed a sale
// takes some megabytes in that time.
const memoryEvery = 250 * time.Millisecond

func (m *memoryWatch) full() bool { return m.pressed.Load() }

func (m *memoryWatch) start(e *Engine) {
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.running.Go(func() {
		tick := time.NewTicker(memoryEvery)
		defer tick.Stop()
		for {
			m.look(ctx, e)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

func (m *memoryWatch) stop() {
	if m.cancel != nil {
		m.cancel()
		m.running.Wait()
	}
}

// look asks each master. While Redis does not answer the last word counts.
func (m *memoryWatch) look(ctx context.Context, e *Engine) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	var used atomic.Int64 // percent, of the fullest
	err := eachMaster(ctx, e.redis, func(ctx context.Context, c redis.Cmdable) error {
		info, err := c.Info(ctx, "memory").Result()
		if err != nil {
			return err
		}
		percent := int64(0)
		if most := infoNumber(info, "maxmemory"); most > 0 {
			percent = infoNumber(info, "used_memory") * 100 / most
		}
		for {
			seen := used.Load()
			if percent <= seen || used.CompareAndSwap(seen, percent) {
				return nil
			}
		}
	})
	if err != nil {
		return
	}
	e.metrics.memory.Set(float64(used.Load()) / 100)
	full := used.Load() >= int64(e.cfg.MaxMemoryPercent)
	if m.pressed.Swap(full) == full {
		return
	}
	if full {
		e.log.Error("Redis's memory is nearly full; no more holds begin until there is room", "used_percent", used.Load())
	} else {
		e.log.Info("Redis has memory again; holds begin", "used_percent", used.Load())
	}
}

// infoNumber is the value of a line of INFO, 0 if there is none.
func infoNumber(info, name string) int64 {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}
