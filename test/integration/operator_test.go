package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// TestOperatorSeesAndReleasesHolds has no expirer, so that holds get stuck.
func TestOperatorSeesAndReleasesHolds(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	s := newShop(t, d.serve(t, "--roles", "api,writer"))
	person := d.people(t, 1)[0]
	id, short := s.open(5, nil), s.open(5, object{"hold_seconds": 0.5})
	held, bought := s.mustReserve(object{"dropId": id, "userId": person}), s.mustReserve(object{"dropId": id, "userId": person})
	s.mustBuy(bought.ID)
	stuck := s.mustReserve(object{"dropId": short, "userId": person})

	harness.Eventually(t, 10*time.Second, func() error {
		printed, status := d.run(t, "holds", "--json", "--overdue")
		var line struct {
			ID, Drop, User int64
			Overdue        bool
		}
		if err := json.Unmarshal([]byte(printed), &line); err != nil || status != 0 {
			return fmt.Errorf("holds ended with %d, %w:\n%s", status, err, printed)
		}
		if line.ID != stuck.ID || line.Drop != short || line.User != person || !line.Overdue {
			t.Fatalf("overdue: %+v, want reservation %d", line, stuck.ID)
		}
		return nil
	})
	printed, status := d.run(t, "holds")
	if status != 0 || strings.Count(printed, "\n") != 3 {
		t.Errorf("holds ended with %d:\n%s", status, printed)
	}
	contains(t, printed, id10(held.ID), id10(stuck.ID), "overdue")

	printed, status = d.run(t, "release", "--overdue", id10(held.ID))
	if status != 0 {
		t.Errorf("release ended with %d:\n%s", status, printed)
	}
	contains(t, printed, fmt.Sprintf("Reservation %d is cancelled", held.ID))
	if err := s.stockIs(short, 5, 0, 0); err != nil {
		t.Error(err)
	}
	if _, a := s.purchase(held.ID); a.status != http.StatusGone || a.code != "reservation_cancelled" {
		t.Errorf("purchase of a released hold: %v", a)
	}
	printed, status = d.run(t, "release", id10(bought.ID))
	if status != 1 {
		t.Errorf("release of a purchase ended with %d", status)
	}
	contains(t, printed, "was purchased")
	if printed, status = d.run(t, "holds"); status != 0 || strings.Count(printed, "\n") != 1 {
		t.Errorf("holds ended with %d:\n%s", status, printed)
	}
	if printed, status = d.run(t, "release"); status != 1 {
		t.Errorf("release of nothing ended with %d:\n%s", status, printed)
	}
	d.balanced(t)
}

// id10 is an id as the commands take it.
func id10(id int64) string { return strconv.FormatInt(id, 10) }

// TestOperatorRebuilds has a foreign hand in Redis: rebuild sets it right while
// an instance serves on.
func TestOperatorRebuilds(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	s := newShop(t, d.serve(t))
	person := d.people(t, 1)[0]
	id, other := s.open(5, nil), s.open(3, nil)
	first := s.mustReserve(object{"dropId": id, "userId": person})
	bought := s.mustBuy(first.ID)
	held := s.mustReserve(object{"dropId": id, "userId": person})
	d.drained(t, 30*time.Second)

	if err := d.redis.HIncrBy(t.Context(), d.dropKey(id), "a:", 1).Err(); err != nil {
		t.Fatal(err)
	}
	if err := d.redis.HIncrBy(t.Context(), d.dropKey(id), "h:", 2).Err(); err != nil {
		t.Fatal(err)
	}
	if _, status := d.run(t, "audit"); status != 1 {
		t.Errorf("audit ended with %d", status)
	}
	printed, status := d.run(t, "rebuild", "--drop", id10(id))
	if status != 0 {
		t.Fatalf("rebuild ended with %d:\n%s", status, printed)
	}
	d.balanced(t)
	s.mustBuy(held.ID)

	if err := d.redis.Del(t.Context(), d.dropKey(other), d.dropKey(id)).Err(); err != nil {
		t.Fatal(err)
	}
	if printed, status = d.run(t, "rebuild"); status != 0 {
		t.Fatalf("rebuild ended with %d:\n%s", status, printed)
	}
	harness.Eventually(t, 10*time.Second, func() error { return s.stockIs(id, 3, 0, 2) })
	if again, a := s.purchase(first.ID); a.status != http.StatusOK || !sameReceipt(again, bought) {
		t.Errorf("repeated purchase: %v", a)
	}
	fresh := s.mustReserve(object{"dropId": id, "userId": person})
	if fresh.ID <= held.ID {
		t.Errorf("id %d after %d", fresh.ID, held.ID)
	}
	if err := s.stockIs(other, 3, 0, 0); err != nil {
		t.Error(err)
	}
	d.balanced(t)
	if printed, status = d.run(t, "rebuild", "--drop", "999"); status != 1 {
		t.Errorf("rebuild of no drop ended with %d:\n%s", status, printed)
	}
}

// TestAuditAsJSONAndAgain reads what --json prints, and watches.
func TestAuditAsJSONAndAgain(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	s := newShop(t, d.serve(t))
	person := d.people(t, 1)[0]
	id := s.open(5, object{"sizes": []object{{"size": "42", "stock": 2}, {"size": "43", "stock": 3}}})
	s.mustBuy(s.mustReserve(object{"dropId": id, "userId": person, "size": "43"}).ID)
	s.mustReserve(object{"dropId": id, "userId": person, "size": "42"})
	d.drained(t, 30*time.Second)

	type counts map[string]int64
	var report struct {
		Lines []struct {
			Drop            int64
			Size, Problem   string
			Redis, Postgres counts
		}
		Differences int
		LostWork    counts `json:"lost_work"`
	}
	printed, status := d.run(t, "audit", "--json")
	if err := json.Unmarshal([]byte(printed), &report); err != nil || status != 0 {
		t.Fatalf("audit ended with %d, %v:\n%s", status, err, printed)
	}
	if len(report.Lines) != 2 || report.Differences != 0 || report.LostWork == nil {
		t.Fatalf("%+v", report)
	}
	if l := report.Lines[1]; l.Size != "43" || l.Redis["sold"] != 1 || l.Postgres["purchases"] != 1 || l.Redis["available"] != 2 || l.Problem != "" {
		t.Errorf("%+v", l)
	}
	contains(t, printed, `"live_holds":1`)

	watch := command(t, d.env(), "audit", "--watch", "--every", "100ms", "--json")
	watch.Start()
	harness.Eventually(t, 20*time.Second, func() error {
		if n := strings.Count(watch.Log(), `"differences":0`); n < 2 {
			return fmt.Errorf("%d audits", n)
		}
		return nil
	})
	if err := d.redis.HIncrBy(t.Context(), d.dropKey(id), "a:42", 1).Err(); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 20*time.Second, func() error {
		if !strings.Contains(watch.Log(), `"differences":1`) {
			return fmt.Errorf("no difference found")
		}
		return nil
	})
	watch.Signal(syscall.SIGINT)
	if status := watch.Wait(10 * time.Second); status != 1 {
		t.Errorf("audit --watch ended with %d, want the last audit's 1", status)
	}
}
