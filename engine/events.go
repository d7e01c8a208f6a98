package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Reason says what changed a drop.
type Reason string

// The reasons of events.
const (
	ReasonOpened    Reason = "opened"
	ReasonReserved  Reason = "reserved"
	ReasonPurchased Reason = "purchased"
	ReasonCancelled Reason = "cancelled"
	ReasonExpired   Reason = "reservation_expired"
	ReasonRebuilt   Reason = "rebuilt" // set right after Redis changed
	ReasonChanged   Reason = "changed" // its terms were changed, or who watches it should look at them anew
)

// Event tells of one change of a drop. Counts are absolute, so of two events
// the one with the greater version is right about every size it names.
type Event struct {
	Drop      int64
	Version   int64
	At        time.Time // by Redis's clock, to the millisecond
	Reason    Reason
	Sizes     []SizeCount // those that changed, Total included
	Purchases []Sale      // on ReasonPurchased
	State     State       // on ReasonChanged, where the version has risen; else empty
	// Late is by how much the oldest of the lapsed holds was past its deadline
	// (on ReasonExpired).
	Late time.Duration
}

// Sale is one purchase in an event.
type Sale struct {
	Reservation int64
	User        int64
}

// EventHandler gets what Listen hears. Its functions are called one at a time
// and must not block for long: Redis drops a subscriber that reads too slowly.
type EventHandler struct {
	Event func(Event)
	// Resync is called after each (re)subscription: events may have been
	// missed, so read the stock anew.
	Resync func()
}

// Listen hears the events of all drops until ctx ends, across reconnects. What
// it hears also lets this engine refuse early, and stop to refuse as soon as a
// unit comes back elsewhere (Config.NewsMaxAge).
func (e *Engine) Listen(ctx context.Context, h EventHandler) {
	channels := make([]string, e.keys.partitions)
	for p := range channels {
		channels[p] = e.keys.events(p)
	}
	// On a cluster any node will do: each tells the others what is published.
	for msg := range receive(ctx, func() *redis.PubSub { return e.redis.Subscribe(ctx, channels...) }) {
		switch msg := msg.(type) {
		case *redis.Subscription:
			if msg.Count != len(channels) {
				continue // not the last of them
			}
			e.outlook.forgetAll()
			if h.Resync != nil {
				h.Resync()
			}
		case *redis.Message:
			ev, err := parseEvent(msg.Payload)
			if err != nil {
				e.log.Error("event could not be read", "channel", msg.Channel, "err", err)
				continue
			}
			e.outlook.happened(ev)
			h.Event(ev)
		}
	}
}

func parseEvent(payload string) (Event, error) {
	var raw struct {
		Drop    int64               `json:"d"`
		Version int64               `json:"v"`
		AtMS    int64               `json:"t"`
		Reason  Reason              `json:"r"`
		Sizes   map[string][3]int64 `json:"s"`
		Sales   [][2]any            `json:"p"`
		LateMS  int64               `json:"l"`
		State   State               `json:"a"`
	}
	if err := json.Unmarshal([]byte(payload), &raw); err != nil {
		return Event{}, fmt.Errorf("event: %w", err)
	}
	ev := Event{
		Drop: raw.Drop, Version: raw.Version, At: fromUnixMS(raw.AtMS), Reason: raw.Reason,
		Late: time.Duration(raw.LateMS) * time.Millisecond, State: raw.State,
	}
	for size, c := range raw.Sizes {
		ev.Sizes = append(ev.Sizes, SizeCount{
			Size: size, Total: c[0] + c[1] + c[2], Available: c[0], Held: c[1], Sold: c[2],
		})
	}
	for _, s := range raw.Sales {
		seq, ok1 := s[0].(float64)
		text, ok2 := s[1].(string)
		user, err := strconv.ParseInt(text, 10, 64)
		if !ok1 || !ok2 || err != nil {
			return Event{}, fmt.Errorf("event: sale %v", s)
		}
		ev.Purchases = append(ev.Purchases, Sale{Reservation: ReservationID(raw.Drop, int64(seq)), User: user})
	}
	return ev, nil
}
