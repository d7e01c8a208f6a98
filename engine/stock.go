package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// stockChunk is how many drops one pipeline asks for.
const stockChunk = 500

// Stock returns the state of the given drops, in their order, each consistent
// in itself. A drop that Redis does not know has a nil entry.
func (e *Engine) Stock(ctx context.Context, drops []int64) ([]*Stock, error) {
	out := make([]*Stock, 0, len(drops))
	for len(drops) > 0 {
		chunk := drops[:min(stockChunk, len(drops))]
		drops = drops[len(chunk):]
		part, err := e.stockChunk(ctx, chunk)
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	return out, nil
}

func (e *Engine) stockChunk(ctx context.Context, drops []int64) ([]*Stock, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	cmds := make([]*redis.MapStringStringCmd, len(drops))
	_, err := e.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, d := range drops {
			cmds[i] = p.HGetAll(ctx, e.keys.drop(d))
		}
		return nil
	})
	if err != nil {
		return nil, unavailable(err)
	}
	out := make([]*Stock, len(drops))
	for i, cmd := range cmds {
		if h := cmd.Val(); len(h) > 0 {
			if out[i], err = parseStock(drops[i], h); err != nil {
				return nil, fmt.Errorf("%w: drop %d: %w", ErrCorrupt, drops[i], err)
			}
		}
	}
	return out, nil
}

func parseStock(drop int64, h map[string]string) (*Stock, error) {
	var firstErr error
	number := func(field string) int64 {
		n, err := strconv.ParseInt(h[field], 10, 64)
		if err != nil && firstErr == nil {
			firstErr = fmt.Errorf("field %s is %q", field, h[field])
		}
		return n
	}
	s := &Stock{
		Drop:    drop,
		State:   State(h["state"]),
		Version: number("version"),
		LastSeq: number("seq"),
		Start:   fromUnixMS(number("start")),
		End:     fromUnixMS(number("end")),
		Hold:    time.Duration(number("hold")) * time.Millisecond,
		Limit:   number("limit"),
	}
	if h["change"] != "" { // a drop of an older version has none
		s.Change = number("change")
	}
	var names []string
	if err := json.Unmarshal([]byte(h["sizes"]), &names); err != nil {
		return nil, fmt.Errorf("field sizes: %w", err)
	}
	for _, name := range names {
		c := SizeCount{
			Size:      name,
			Total:     number("t:" + name),
			Available: number("a:" + name),
			Held:      number("h:" + name),
			Sold:      number("s:" + name),
		}
		s.Sizes = append(s.Sizes, c)
		s.Total += c.Total
		s.Available += c.Available
		s.Held += c.Held
		s.Sold += c.Sold
	}
	return s, firstErr
}

// LiveHolds counts the members of each partition's deadlines: holds that are
// live, or lapsed and not yet released.
func (e *Engine) LiveHolds(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	cmds := make([]*redis.IntCmd, e.keys.partitions)
	_, err := e.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range cmds {
			cmds[i] = p.ZCard(ctx, e.keys.deadlines(i))
		}
		return nil
	})
	if err != nil {
		return 0, unavailable(err)
	}
	var n int64
	for _, c := range cmds {
		n += c.Val()
	}
	return n, nil
}
