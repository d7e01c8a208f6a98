package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// End is one record of the ledger: an ended reservation (Status is not
// StatusActive, Ended is set).
type End = Reservation

// Entry is one entry of a partition's ledger: the records of one script call.
type Entry struct {
	ID     string // the stream's id
	Ends   []End
	Broken []string // raw records that could not be decoded

	first string // the first record, as it stands
}

// A hold is described by one string wherever it appears, and by that with two
// fields before it once it has ended:
//
//	hold key, deadlines, idem   drop:seq:user:created:deadline:size
//	ledger, sold                ended:kind:drop:seq:user:created:deadline:size
//
// Times are Unix milliseconds of Redis's clock. The size comes last and may
// hold any byte. kind is p (purchased), c (cancelled) or x (expired).

// parseHold reads the description of a hold.
func parseHold(text string) (Reservation, error) {
	f := strings.SplitN(text, ":", 6)
	if len(f) != 6 {
		return Reservation{}, fmt.Errorf("%d fields in a hold's description, want 6", len(f))
	}
	var n [5]int64
	for i := range n {
		v, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil || v < 0 {
			return Reservation{}, fmt.Errorf("field %d of a hold's description is %q, want a number", i, f[i])
		}
		n[i] = v
	}
	if n[0] < 1 || n[0] > MaxDropID || n[1] < 1 || n[1] > maxSeq {
		return Reservation{}, fmt.Errorf("no hold has drop %d, seq %d", n[0], n[1])
	}
	return Reservation{
		ID:       ReservationID(n[0], n[1]),
		Drop:     n[0],
		User:     n[2],
		Size:     f[5],
		Status:   StatusActive,
		Created:  time.UnixMilli(n[3]).UTC(),
		Deadline: time.UnixMilli(n[4]).UTC(),
	}, nil
}

// parseEnd reads a ledger record or a receipt.
func parseEnd(record string) (Reservation, error) {
	ended, rest, _ := strings.Cut(record, ":")
	kind, hold, _ := strings.Cut(rest, ":")
	ms, err := strconv.ParseInt(ended, 10, 64)
	if err != nil || ms < 0 {
		return Reservation{}, fmt.Errorf("ledger record ended at %q, want a number", ended)
	}
	r, err := parseHold(hold)
	if err != nil {
		return Reservation{}, err
	}
	switch kind {
	case "p":
		r.Status = StatusCompleted
	case "c":
		r.Status = StatusCancelled
	case "x":
		r.Status = StatusExpired
	default:
		return Reservation{}, fmt.Errorf("unknown kind %q in ledger record", kind)
	}
	r.Ended = time.UnixMilli(ms).UTC()
	return r, nil
}

// decodeEntries splits stream messages into records. The fields of an entry
// are numbered 1, 2, … and hold one record each.
func decodeEntries(msgs []redis.XMessage) []Entry {
	entries := make([]Entry, 0, len(msgs))
	for _, m := range msgs {
		e := Entry{ID: m.ID}
		fields := slices.SortedFunc(maps.Keys(m.Values), func(a, b string) int {
			return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) // as numbers
		})
		for _, field := range fields {
			record, _ := m.Values[field].(string)
			if field == "1" {
				e.first = record
			}
			end, err := parseEnd(record)
			if err != nil {
				e.Broken = append(e.Broken, record)
				continue
			}
			e.Ends = append(e.Ends, end)
		}
		entries = append(entries, e)
	}
	return entries
}
