package engine

import (
	"context"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// The deadlines of a partition hold those of all its drops, so a list of one
// drop's looks through others: at most holdsScan, a page at a time.
const (
	holdsPage = 1000
	holdsScan = 50_000
)

// Holds lists the live holds of a drop, the soonest deadline first: at most
// most, and only those among the partition's 50,000 soonest. Holds that have
// lapsed and are not back yet are left out; Overdue counts them.
func (e *Engine) Holds(ctx context.Context, drop int64, most int) ([]Reservation, error) {
	now, err := e.Now(ctx)
	if err != nil {
		return nil, err
	}
	return e.scanHolds(ctx, drop, "("+strconv.FormatInt(now.UnixMilli(), 10), "+inf", most)
}

// Overdue counts the holds of a drop that have lapsed and are not back yet,
// as far as they are among the partition's 50,000 oldest.
func (e *Engine) Overdue(ctx context.Context, drop int64) (int, error) {
	lapsed, err := e.OverdueHolds(ctx, drop, holdsScan)
	return len(lapsed), err
}

// OverdueHolds lists them, the oldest deadline first, at most most.
func (e *Engine) OverdueHolds(ctx context.Context, drop int64, most int) ([]Reservation, error) {
	now, err := e.Now(ctx)
	if err != nil {
		return nil, err
	}
	return e.scanHolds(ctx, drop, "-inf", strconv.FormatInt(now.UnixMilli(), 10), most)
}

// scanHolds gives the drop's holds with deadlines from … to, rising.
func (e *Engine) scanHolds(ctx context.Context, drop int64, from, to string, most int) ([]Reservation, error) {
	if drop < 1 || drop > MaxDropID {
		return nil, ErrDropNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	key := e.keys.deadlines(e.keys.partition(drop))
	prefix := strconv.FormatInt(drop, 10) + ":"
	var holds []Reservation
	offset := int64(0) // members at the score from that were seen already
	for seen := 0; seen < holdsScan; {
		page, err := e.redis.ZRangeByScoreWithScores(ctx, key, &redis.ZRangeBy{
			Min: from, Max: to, Offset: offset, Count: holdsPage,
		}).Result()
		if err != nil {
			return nil, unavailable(err)
		}
		seen += len(page)
		for _, z := range page {
			member, _ := z.Member.(string)
			// By score and not by place, so that no page looks through those before.
			if score := strconv.FormatFloat(z.Score, 'f', -1, 64); score != from {
				from, offset = score, 0
			}
			offset++
			if !strings.HasPrefix(member, prefix) {
				continue
			}
			if r, err := parseHold(member); err == nil { // else release.lua sets it aside
				holds = append(holds, r)
			}
			if len(holds) >= most {
				return holds, nil
			}
		}
		if len(page) < holdsPage {
			break
		}
	}
	return holds, nil
}
