package webhook

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/holdfast/holdfast/persist"
)

// payload is the body of a message.
type payload struct {
	Type      string `json:"type"`
	Timestamp stamp  `json:"timestamp"` // when it happened
	Data      any    `json:"data"`
}

// The data of an event: fields are named as the API names them.
type (
	purchaseData struct {
		ID        int64   `json:"id"`
		User      int64   `json:"UserId"`
		Drop      int64   `json:"DropId"`
		Size      *string `json:"size"`
		Purchased stamp   `json:"purchased_at"`
	}
	reservationData struct {
		ID       int64   `json:"id"`
		User     int64   `json:"UserId"`
		Drop     int64   `json:"DropId"`
		Size     *string `json:"size"`
		Created  stamp   `json:"created_at"`
		Deadline stamp   `json:"expires_at"`
		Ended    stamp   `json:"ended_at"`
	}
	dropData struct {
		ID    int64 `json:"id"`
		Total int64 `json:"total_stock"`
	}
)

// stamp is a time in UTC with milliseconds.
type stamp time.Time

// MarshalJSON writes ISO 8601.
func (s stamp) MarshalJSON() ([]byte, error) {
	return []byte(time.Time(s).UTC().Format(`"2006-01-02T15:04:05.000Z"`)), nil
}

// body is the same for every attempt.
func body(e persist.Event) ([]byte, error) {
	var size *string
	if e.Size != "" {
		size = &e.Size
	}
	p := payload{Type: e.Type, Timestamp: stamp(e.Occurred)}
	switch e.Type {
	case persist.EventPurchaseCompleted:
		p.Data = purchaseData{e.Reservation, e.User, e.Drop, size, stamp(e.Occurred)}
	case persist.EventReservationExpired:
		p.Data = reservationData{e.Reservation, e.User, e.Drop, size, stamp(e.Created), stamp(e.Deadline), stamp(e.Occurred)}
	case persist.EventDropSoldOut:
		p.Data = dropData{e.Drop, e.TotalStock}
	default: // of a newer version
		return nil, fmt.Errorf("event %s is of the unknown type %s", e.ID, e.Type)
	}
	return json.Marshal(p)
}
