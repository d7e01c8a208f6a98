package api

import (
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast/holdfast/engine"
)

// The decoders read what anybody may send. They never panic, every refusal
// names a field, and what they let through keeps the limits of openapi.yaml.

// refusal fails unless err says which field is wrong.
func refusal(t *testing.T, err error) {
	t.Helper()
	if c := (*complaint)(nil); !errors.As(err, &c) || c.field == "" || c.problem == "" || !utf8.ValidString(c.Error()) || len(c.Error()) > 400 {
		t.Errorf("error %q does not name a field", err)
	}
}

// goodText fails unless s can be stored and shown.
func goodText(t *testing.T, name, s string, most int) {
	t.Helper()
	if len(s) > most || !utf8.ValidString(s) || strings.ContainsFunc(s, isControl) || s != strings.TrimSpace(s) {
		t.Errorf("%s %q was taken", name, s)
	}
}

func FuzzDecodeReserve(f *testing.F) {
	f.Add([]byte(`{"dropId":7,"userId":42,"size":"42"}`))
	f.Add([]byte(`{"dropId":7,"userName":"ada","email":"ada@example.com"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		const caller = 42
		if b, err := decodeReserve(body, caller); err == nil && (b.user != 0 && b.user != caller || b.userName != "" || b.email != "") {
			t.Errorf("with a token, somebody else: %+v", b)
		} else if err != nil && !errors.Is(err, errUserMismatch) {
			refusal(t, err)
		}
		b, err := decodeReserve(body, 0)
		if err != nil {
			refusal(t, err)
			return
		}
		if b.drop < 1 || b.drop > engine.MaxDropID || b.user < 0 || b.user > maxSafeInteger {
			t.Errorf("ids %+v", b)
		}
		if (b.user == 0) == (b.userName == "") || b.user != 0 && b.email != "" {
			t.Errorf("neither a person nor a guest: %+v", b)
		}
		goodText(t, "userName", b.userName, maxUsername)
		goodText(t, "email", b.email, maxEmail)
		goodText(t, "size", b.size, engine.MaxSize)
	})
}

func FuzzDecodeReservationID(f *testing.F) {
	f.Add([]byte(`{"reservationId":3758096385}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		id, err := decodeReservationID(body)
		if err != nil {
			refusal(t, err)
		} else if id < 1 || id > maxSafeInteger {
			t.Errorf("id %d", id)
		}
	})
}

func FuzzDecodeUser(f *testing.F) {
	f.Add([]byte(`{"username":"ada","email":"ada@example.com"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := decodeUser(body)
		if err != nil {
			refusal(t, err)
			return
		}
		if b.username == "" {
			t.Error("no username")
		}
		goodText(t, "username", b.username, maxUsername)
		goodText(t, "email", b.email, maxEmail)
	})
}

func FuzzDecodeDrop(f *testing.F) {
	f.Add([]byte(`{"name":"n","price":180.00,"total_stock":5,"start_time":"2026-11-23T18:00:00Z"}`))
	f.Add([]byte(`{"name":"n","price":1,"start_time":"2026-11-23T19:00:00+01:00","end_time":"2026-11-24T19:00:00.5Z",` +
		`"sizes":[{"size":"42","stock":30},{"size":"43","stock":20}],"hold_seconds":1.5,"limit_per_customer":1,"image_url":"/a.jpg"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := decodeDrop(body)
		if err != nil {
			refusal(t, err)
			return
		}
		if d.Name == "" || d.PriceMinor < 0 || d.PriceMinor > maxMoney || d.Limit < 0 || d.Limit > engine.MaxStock {
			t.Errorf("drop %+v", d)
		}
		if d.Hold < engine.MinHold || d.Hold > engine.MaxHold || d.Hold%time.Millisecond != 0 {
			t.Errorf("hold %v", d.Hold)
		}
		if d.Start.UnixMilli() < 0 || d.Start.Year() > 9999 || !d.End.IsZero() && (!d.End.After(d.Start) || d.End.Year() > 9999) {
			t.Errorf("from %v to %v", d.Start, d.End)
		}
		goodText(t, "name", d.Name, maxName)
		goodText(t, "image_url", d.ImageURL, maxImageURL)
		var total int64
		seen := map[string]bool{}
		for _, s := range d.Sizes {
			total += s.Stock
			goodText(t, "size", s.Size, engine.MaxSize)
			if s.Stock < 1 || seen[s.Size] || s.Size == "" && len(d.Sizes) != 1 {
				t.Errorf("sizes %+v", d.Sizes)
			}
			seen[s.Size] = true
		}
		if total < 1 || total > engine.MaxStock || len(d.Sizes) > engine.MaxSizes {
			t.Errorf("stock %d in %d sizes", total, len(d.Sizes))
		}
	})
}

// FuzzPrice: a price that is taken comes back as an equal number.
func FuzzPrice(f *testing.F) {
	for _, text := range []string{"180.00", "0.01", "0.1", "179.5", "1000000000", "1.005", "1e2", "-0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v := jsontext.Value(text)
		if !v.IsValid() || text != strings.TrimSpace(text) {
			return // never comes so far
		}
		m, err := price("price", v)
		if err != nil {
			refusal(t, err)
			return
		}
		back, err := m.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		in, _ := new(big.Rat).SetString(text)
		out, ok := new(big.Rat).SetString(string(back))
		if !ok || in == nil || in.Cmp(out) != 0 || !jsontext.Value(back).IsValid() {
			t.Errorf("price %s in, %s out", text, back)
		}
	})
}

func FuzzDecodeChange(f *testing.F) {
	f.Add([]byte(`{"state":"paused"}`))
	f.Add([]byte(`{"stock":[{"size":"42","add":-5},{"size":"43","add":20}],"limit_per_customer":null,"end_time":null}`))
	f.Add([]byte(`{"start_time":"2026-11-23T19:00:00+01:00","end_time":"2026-11-24T19:00:00.5Z","price":1.50,"limit_per_customer":2}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := decodeChange(body)
		if err != nil {
			refusal(t, err)
			return
		}
		if c.State == "" && c.Start == nil && c.End == nil && c.Limit == nil && c.PriceMinor == nil && c.Stock == nil {
			t.Error("a change of nothing")
		}
		if n := c.Limit; n != nil && (*n < 1 || *n > engine.MaxStock) && *n != engine.NoLimit {
			t.Errorf("limit %d", *n)
		}
		if p := c.PriceMinor; p != nil && (*p < 0 || *p > maxMoney) {
			t.Errorf("price %d", *p)
		}
		if len(c.Stock) > engine.MaxSizes {
			t.Errorf("%d sizes", len(c.Stock))
		}
		for _, s := range c.Stock {
			goodText(t, "size", s.Size, engine.MaxSize)
			if s.Add == 0 || s.Add > engine.MaxStock || s.Add < -engine.MaxStock {
				t.Errorf("add %d", s.Add)
			}
		}
	})
}
