package api

import (
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// The JSON forms. Field names are those of the API that Holdfast replaces:
// Sequelize's capitals for associations, snake case for columns.

// stamp is a time as the API writes it: ISO 8601, UTC, milliseconds.
type stamp time.Time

const stampForm = `"2006-01-02T15:04:05.000Z"`

// MarshalJSON writes the time in UTC.
func (s stamp) MarshalJSON() ([]byte, error) {
	return time.Time(s).UTC().AppendFormat(make([]byte, 0, len(stampForm)), stampForm), nil
}

// stampOrNil is nil for the zero time.
func stampOrNil(t time.Time) *stamp {
	if t.IsZero() {
		return nil
	}
	s := stamp(t)
	return &s
}

// orNil is nil for the zero value.
func orNil[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

type dropBody struct {
	ID             int64          `json:"id"`
	Name           string         `json:"name"`
	Price          money          `json:"price"`
	TotalStock     int64          `json:"total_stock"`
	AvailableStock int64          `json:"available_stock"`
	Held           int64          `json:"held"`
	Sold           int64          `json:"sold"`
	StartTime      stamp          `json:"start_time"`
	EndTime        *stamp         `json:"end_time"`
	HoldSeconds    float64        `json:"hold_seconds"`
	Limit          *int64         `json:"limit_per_customer"`
	ImageURL       *string        `json:"image_url"`
	Challenge      bool           `json:"challenge"`
	State          engine.State   `json:"state"`
	Version        int64          `json:"version"`
	Sizes          []sizeBody     `json:"sizes"`
	Purchases      []purchaseItem `json:"Purchases"`
	CreatedAt      stamp          `json:"created_at"`
}

type sizeBody struct {
	Size           string `json:"size"`
	Stock          int64  `json:"stock"`
	AvailableStock int64  `json:"available_stock"`
	Held           int64  `json:"held"`
	Sold           int64  `json:"sold"`
}

type purchaseItem struct {
	ID   int64 `json:"id"`
	User struct {
		Username string `json:"username"`
	} `json:"User"`
}

// renderDrop joins what the catalogue knows with the live stock. A drop that
// Redis does not have is shown paused, with nothing available: it cannot sell
// until it is opened again.
func renderDrop(d persist.Drop, s *engine.Stock) dropBody {
	b := dropBody{
		ID: d.ID, Name: d.Name, Price: money(d.PriceMinor), TotalStock: d.TotalStock,
		StartTime: stamp(d.Start), EndTime: stampOrNil(d.End),
		HoldSeconds: d.Hold.Seconds(), Limit: orNil(persist.LimitOf(d.Limit)), ImageURL: orNil(d.ImageURL), Challenge: d.Challenge,
		State: engine.StatePaused, Sizes: []sizeBody{}, Purchases: make([]purchaseItem, len(d.Buyers)),
		CreatedAt: stamp(d.Created),
	}
	for i, buyer := range d.Buyers {
		b.Purchases[i].ID = buyer.Purchase
		b.Purchases[i].User.Username = buyer.Username
	}
	if s == nil {
		for _, size := range d.Sizes {
			b.Sold += size.Sold
			if d.Sized {
				b.Sizes = append(b.Sizes, sizeBody{Size: size.Size, Stock: size.Stock, Sold: size.Sold})
			}
		}
		return b
	}
	b.TotalStock, b.AvailableStock, b.Held, b.Sold = s.Total, s.Available, s.Held, s.Sold
	b.State, b.Version = s.State, s.Version
	if d.Sized {
		for _, c := range s.Sizes {
			b.Sizes = append(b.Sizes, sizeBody{
				Size: c.Size, Stock: c.Total, AvailableStock: c.Available, Held: c.Held, Sold: c.Sold,
			})
		}
	}
	return b
}

// The levels of an acknowledged purchase.
const (
	accepted  = "accepted"  // in the fsynced ledger of Redis
	confirmed = "confirmed" // committed to Postgres
)

type reservationBody struct {
	ID        int64         `json:"id"`
	UserID    int64         `json:"UserId,omitempty"`
	DropID    int64         `json:"DropId"`
	Size      *string       `json:"size"`
	Status    engine.Status `json:"status"`
	CreatedAt *stamp        `json:"created_at,omitempty"`
	ExpiresAt *stamp        `json:"expires_at,omitempty"`
	EndedAt   *stamp        `json:"ended_at,omitempty"`
	Persisted string        `json:"persisted,omitempty"`
}

func renderReservation(r engine.Reservation) reservationBody {
	b := reservationBody{
		ID: r.ID, UserID: r.User, DropID: r.Drop, Size: orNil(r.Size), Status: r.Status,
		CreatedAt: stampOrNil(r.Created), ExpiresAt: stampOrNil(r.Deadline), EndedAt: stampOrNil(r.Ended),
	}
	if r.Status == engine.StatusCompleted {
		b.Persisted = accepted
	}
	return b
}

type receiptBody struct {
	Message  string       `json:"message"`
	Purchase purchaseBody `json:"purchase"`
}

type purchaseBody struct {
	ID            int64   `json:"id"`
	UserID        int64   `json:"UserId"`
	DropID        int64   `json:"DropId"`
	ReservationID int64   `json:"reservationId"`
	Size          *string `json:"size"`
	PurchasedAt   stamp   `json:"purchased_at"`
	Persisted     string  `json:"persisted"`
}

func renderReceipt(r engine.Reservation) receiptBody {
	return receiptBody{Message: "Purchase successful", Purchase: purchaseBody{
		ID: r.ID, UserID: r.User, DropID: r.Drop, ReservationID: r.ID, Size: orNil(r.Size),
		PurchasedAt: stamp(r.Ended), Persisted: accepted,
	}}
}

type userReply struct {
	ID        int64   `json:"id"`
	Username  string  `json:"username"`
	Email     *string `json:"email"`
	CreatedAt stamp   `json:"created_at"`
}

func renderUser(u persist.User) userReply {
	return userReply{ID: u.ID, Username: u.Username, Email: orNil(u.Email), CreatedAt: stamp(u.Created)}
}
