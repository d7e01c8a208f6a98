package api

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast/holdfast/engine"
)

// TestEncodedByHand holds the answers that are written by hand against
// encoding/json.
func TestEncodedByHand(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		moment := func(name string) time.Time {
			ms := rapid.Int64Range(0, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).UnixMilli()).Draw(t, name)
			if ms%7 == 0 {
				return time.Time{}
			}
			return time.UnixMilli(ms)
		}
		r := engine.Reservation{
			ID:   rapid.Int64Range(1, engine.MaxID).Draw(t, "id"),
			Drop: rapid.Int64Range(1, engine.MaxDropID).Draw(t, "drop"),
			User: rapid.Int64Range(0, maxSafeInteger).Draw(t, "user"),
			Size: rapid.OneOf(rapid.String(), rapid.StringMatching(`[0-9.]{0,4}`), rapid.Just(`"\<&>`)).Draw(t, "size"),
			Status: rapid.SampledFrom([]engine.Status{
				engine.StatusActive, engine.StatusExpired, engine.StatusCancelled, engine.StatusCompleted,
			}).Draw(t, "status"),
			Created: moment("created"), Deadline: moment("deadline"), Ended: moment("ended"),
		}
		hold, receipt := renderReservation(r), renderReceipt(r)
		for _, c := range []struct {
			form any
			got  []byte
		}{{hold, hold.append(nil)}, {receipt, receipt.append(nil)}} {
			want, err := json.Marshal(c.form)
			if err != nil {
				t.Fatal(err)
			}
			if string(c.got) != string(want) {
				t.Fatalf("%s, want %s", c.got, want)
			}
		}
	})
}

func TestFailuresByHand(t *testing.T) {
	t.Parallel()
	for _, f := range failures {
		want, err := json.Marshal(errorBody{Error: f.message, Code: f.code})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.body(nil); string(got) != string(want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
