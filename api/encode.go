package api

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"
)

// The answers to reserve and purchase, and the refusals of errors.go, are the only
// ones written by hand: in a profile of a sale encoding/json took as long for them
// as the engine for its part. The bytes are those that encoding/json would write.

// sendReservation answers with a reservation.
func sendReservation(c *fiber.Ctx, status int, b *reservationBody) error {
	var room [256]byte
	return sendJSON(c, status, b.append(room[:0]))
}

// sendReceipt answers with a receipt.
func sendReceipt(c *fiber.Ctx, status int, b *receiptBody) error {
	var room [320]byte
	return sendJSON(c, status, b.append(room[:0]))
}

// sendJSON answers with a body, which it copies.
func sendJSON(c *fiber.Ctx, status int, body []byte) error {
	c.Response().SetStatusCode(status)
	c.Response().Header.SetContentType(fiber.MIMEApplicationJSON)
	c.Response().SetBody(body)
	return nil
}

func (r *reservationBody) append(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"id":`...), r.ID, 10)
	if r.UserID != 0 {
		b = strconv.AppendInt(append(b, `,"UserId":`...), r.UserID, 10)
	}
	b = strconv.AppendInt(append(b, `,"DropId":`...), r.DropID, 10)
	b = appendText(append(b, `,"size":`...), r.Size)
	b = append(append(append(b, `,"status":"`...), r.Status...), '"')
	b = appendStamp(b, `,"created_at":`, r.CreatedAt)
	b = appendStamp(b, `,"expires_at":`, r.ExpiresAt)
	b = appendStamp(b, `,"ended_at":`, r.EndedAt)
	if r.Persisted != "" {
		b = append(append(append(b, `,"persisted":"`...), r.Persisted...), '"')
	}
	return append(b, '}')
}

func (r *receiptBody) append(b []byte) []byte {
	p := &r.Purchase
	b = append(append(append(b, `{"message":"`...), r.Message...), `","purchase":{"id":`...)
	b = strconv.AppendInt(b, p.ID, 10)
	b = strconv.AppendInt(append(b, `,"UserId":`...), p.UserID, 10)
	b = strconv.AppendInt(append(b, `,"DropId":`...), p.DropID, 10)
	b = strconv.AppendInt(append(b, `,"reservationId":`...), p.ReservationID, 10)
	b = appendText(append(b, `,"size":`...), p.Size)
	b = appendStamp(b, `,"purchased_at":`, &p.PurchasedAt)
	return append(append(append(b, `,"persisted":"`...), p.Persisted...), `"}}`...)
}

// appendText writes a text, or null.
func appendText(b []byte, text *string) []byte {
	if text == nil {
		return append(b, "null"...)
	}
	for i := range len(*text) {
		if c := (*text)[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(*text)
			if err != nil {
				panic(err) // a string is always marshalled
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), *text...), '"')
}

// appendStamp writes a member with a time; nothing for nil. The digits are
// written out: time.AppendFormat reads its layout anew for each.
func appendStamp(b []byte, name string, s *stamp) []byte {
	if s == nil {
		return b
	}
	t := time.Time(*s).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = append(append(b, name...), '"')
	b = append(b, digit(year/1000), digit(year/100), digit(year/10), digit(year), '-')
	b = append(b, digit(int(month)/10), digit(int(month)), '-', digit(day/10), digit(day), 'T')
	b = append(b, digit(hour/10), digit(hour), ':', digit(minute/10), digit(minute), ':', digit(second/10), digit(second), '.')
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(b, digit(ms/100), digit(ms/10), digit(ms), 'Z', '"')
}

func digit(n int) byte { return byte('0' + n%10) }
