package engine

import (
	"context"
)

// Tally is what is found one by one, where Stock has counters.
type Tally struct {
	Holds   int64 // members of the deadlines: live, or lapsed and not yet released
	Pending int64 // purchases in the ledger that are not taken off it yet
}

// TallyKey names one size of a drop, by the size as it stands in the
// reservations: on a drop without sizes that is any text, and its pool is the
// sum over all of them.
type TallyKey struct {
	Drop int64
	Size string
}

// tallyPage is how many members or entries are read in one call.
const tallyPage = 1000

// Tallies counts all holds and all purchases that are not persisted, by
// reading them. It is not one moment: under load the counts drift against
// the counters by what happens meanwhile.
func (e *Engine) Tallies(ctx context.Context) (map[TallyKey]Tally, error) {
	out := map[TallyKey]Tally{}
	for p := range e.keys.partitions {
		if err := e.tallyHolds(ctx, p, out); err != nil {
			return nil, err
		}
		if err := e.tallyLedger(ctx, p, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (e *Engine) tallyHolds(ctx context.Context, p int, out map[TallyKey]Tally) error {
	var cursor uint64
	seen := map[string]bool{} // ZSCAN may give a member twice
	for {
		pairs, next, err := e.redis.ZScan(ctx, e.keys.deadlines(p), cursor, "", tallyPage).Result()
		if err != nil {
			return unavailable(err)
		}
		for i := 0; i < len(pairs); i += 2 {
			r, err := parseHold(pairs[i])
			if err != nil || seen[pairs[i]] {
				continue // release.lua puts what is no hold in the dead-letter stream
			}
			seen[pairs[i]] = true
			t := out[TallyKey{r.Drop, r.Size}]
			t.Holds++
			out[TallyKey{r.Drop, r.Size}] = t
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func (e *Engine) tallyLedger(ctx context.Context, p int, out map[TallyKey]Tally) error {
	from := "-"
	for {
		msgs, err := e.redis.XRangeN(ctx, e.keys.ledger(p), from, "+", tallyPage).Result()
		if err != nil {
			return unavailable(err)
		}
		for _, entry := range decodeEntries(msgs) {
			for _, end := range entry.Ends {
				if end.Status == StatusCompleted {
					t := out[TallyKey{end.Drop, end.Size}]
					t.Pending++
					out[TallyKey{end.Drop, end.Size}] = t
				}
			}
		}
		if len(msgs) < tallyPage {
			return nil
		}
		from = "(" + msgs[len(msgs)-1].ID
	}
}
