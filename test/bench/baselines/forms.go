package main

import (
	"encoding/json"
	"time"
)

// The JSON forms are Holdfast's, so that answers are as long as its own.

// stamp is a time: ISO 8601, UTC, milliseconds.
type stamp time.Time

var _ json.Marshaler = stamp{}

// MarshalJSON writes the time in UTC.
func (s stamp) MarshalJSON() ([]byte, error) {
	const form = `"2006-01-02T15:04:05.000Z"`
	return time.Time(s).UTC().AppendFormat(make([]byte, 0, len(form)), form), nil
}

type newDrop struct {
	Name        string    `json:"name"`
	Price       float64   `json:"price"`
	TotalStock  int64     `json:"total_stock"`
	Start       time.Time `json:"start_time"`
	HoldSeconds float64   `json:"hold_seconds"`
}

type dropBody struct {
	ID             int64          `json:"id"`
	Name           string         `json:"name"`
	Price          float64        `json:"price"`
	TotalStock     int64          `json:"total_stock"`
	AvailableStock int64          `json:"available_stock"`
	Held           *int64         `json:"held,omitempty"` // shown of one drop alone: they are counted
	Sold           *int64         `json:"sold,omitempty"`
	StartTime      stamp          `json:"start_time"`
	EndTime        *stamp         `json:"end_time"`
	HoldSeconds    float64        `json:"hold_seconds"`
	Limit          *int64         `json:"limit_per_customer"`
	ImageURL       *string        `json:"image_url"`
	State          string         `json:"state"`
	Sizes          []struct{}     `json:"sizes"`
	Purchases      []purchaseItem `json:"Purchases"`
	CreatedAt      stamp          `json:"created_at"`
}

type purchaseItem struct {
	ID   int64 `json:"id"`
	User struct {
		Username string `json:"username"`
	} `json:"User"`
}

type reservationBody struct {
	ID        int64   `json:"id"`
	UserID    int64   `json:"UserId"`
	DropID    int64   `json:"DropId"`
	Size      *string `json:"size"`
	Status    string  `json:"status"`
	CreatedAt stamp   `json:"created_at"`
	ExpiresAt stamp   `json:"expires_at"`
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

type errorBody struct {
	Error string `json:"error"`
	Code  string `json:"code"`
}
