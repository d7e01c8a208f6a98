package loadtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast/holdfast/cmd/load"
)

// Check is one thing that has to be so.
type Check struct {
	What   string `json:"what"`
	Detail string `json:"detail"`
	// OK is nil where it cannot be judged.
	OK *bool `json:"ok"`
}

const (
	patience  = 10 * time.Second // that what was answered may take to show everywhere
	lookAgain = 50 * time.Millisecond
	asked     = 200 // reservations that are asked about
)

// auditor judges a test by what its buyers were told.
type auditor struct {
	shop     *shop
	books    *books
	buyers   []*buyer
	result   *load.Result
	own      bool // the drop was opened for the test
	before   drop
	sampler  *sampler
	audience *audience // nil without watchers

	until  time.Time // when patience is over
	checks []Check
	after  drop
}

func (a *auditor) judgef(what string, ok bool, format string, args ...any) {
	a.checks = append(a.checks, Check{What: what, Detail: fmt.Sprintf(format, args...), OK: &ok})
}

func (a *auditor) leaveOpenf(what, format string, args ...any) {
	a.checks = append(a.checks, Check{What: what, Detail: fmt.Sprintf(format, args...)})
}

// audit makes all checks. Its error says that the server cannot be asked.
func (a *auditor) audit(ctx context.Context) error {
	a.until = time.Now().Add(patience)
	if err := a.settle(ctx); err != nil {
		return err
	}
	a.answers()
	if len(a.books.ids) > 0 || a.result.Sum("reserve").Count > 0 {
		a.units()
		a.refusals()
		if err := a.reservations(ctx); err != nil {
			return err
		}
	}
	a.sums()
	return a.watchers(ctx)
}

// settle reads the drop until it is as the books say, or patience is over.
func (a *auditor) settle(ctx context.Context) (err error) {
	for {
		if a.after, err = a.shop.drop(ctx, a.before.ID); err != nil {
			return err
		}
		if a.asBooked() || !a.patient() {
			return nil
		}
		if err := rest(ctx); err != nil {
			return err
		}
	}
}

func (a *auditor) patient() bool { return time.Now().Before(a.until) }

func rest(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(lookAgain):
		return nil
	}
}

func (a *auditor) asBooked() bool {
	if a.after.addsUp() != nil {
		return false
	}
	if !a.own {
		return a.after.Sold-a.before.Sold >= a.books.sold().least
	}
	return a.books.sold().has(a.after.Sold) && a.books.held().has(a.after.Held) && a.books.gone().has(a.after.Total-a.after.Available)
}

// answers judges the answers by themselves.
func (a *auditor) answers() {
	steps, answered := a.result.Sum("").Count, a.result.Sum("", load.Won, load.Refused).Count
	a.judgef("The server answered", answered > 0, "%s of %s visits", grouped(answered), grouped(steps))
	if w := a.books.wrong; w.all > 0 {
		a.judgef("Each success names its buyer, drop and reservation", w.bad == 0, "%s", w.says("answers"))
	}
	if len(a.books.ids) > 0 {
		n, which := a.books.twice()
		detail := grouped(int64(len(a.books.ids))) + " reservations"
		if n > 0 {
			detail = fmt.Sprintf("%s, %s ids given again, such as %d", detail, grouped(n), which)
		}
		a.judgef("No two reservations have the same id", n == 0, "%s", detail)
	}
}

// says gives the numbers and the first bad case.
func (t *tally) says(what string) string {
	if t.bad == 0 {
		return grouped(t.all) + " " + what
	}
	return fmt.Sprintf("%s of %s %s are wrong; the first: %s", grouped(t.bad), grouped(t.all), what, t.first)
}

// units compares successes with units.
func (a *auditor) units() {
	b := a.books
	if !a.own {
		rose := a.after.Sold - a.before.Sold
		a.judgef("What buyers bought is sold", rose >= b.sold().least,
			"%s bought, the drop's sold rose by %s", b.sold(), grouped(rose))
		a.leaveOpenf("Successes equal units gone", "others may buy of this drop too, and holds of before may lapse")
		return
	}
	a.judgef("Successes equal units gone", b.gone().has(a.after.Total-a.after.Available),
		"%s held or bought, %s of %s gone", b.gone(), grouped(a.after.Total-a.after.Available), grouped(a.after.Total))
	a.judgef("Sold is what was bought", b.sold().has(a.after.Sold), "%s bought, %s sold", b.sold(), grouped(a.after.Sold))
	a.judgef("Held is what was left held", b.held().has(a.after.Held), "%s left held, %s held", b.held(), grouped(a.after.Held))
}

// String says a number, or a range of it.
func (s span) String() string {
	if s.least == s.most {
		return grouped(s.least)
	}
	return fmt.Sprintf("%s to %s (some calls had no certain answer)", grouped(s.least), grouped(s.most))
}

// refusals judges what buyers were denied.
func (a *auditor) refusals() {
	b := a.books
	early := b.ends[lapsed]
	if a.own {
		a.judgef("No hold was lost", early+b.ends[vanished] == 0, "%s of %s could not be bought or cancelled",
			grouped(early+b.ends[vanished]), grouped(int64(len(b.ids))))
	} else {
		a.judgef("No hold was lost", b.ends[vanished] == 0, "%s of %s were refused though they had not lapsed",
			grouped(b.ends[vanished]), grouped(int64(len(b.ids))))
	}
	denied := a.result.Count("reserve", load.Outcome{Kind: load.Refused, Code: "out_of_stock"})
	if denied == 0 || !a.own {
		return
	}
	const what = "Nobody was sent away while units were left"
	if b.cameBack() {
		a.leaveOpenf(what, "units came back meanwhile")
		return
	}
	a.judgef(what, a.after.Available == 0, "%s told that it is sold out, %s units left", grouped(denied), grouped(a.after.Available))
}

// standsAs are the statuses that a reservation may have.
func (a *auditor) standsAs(e end) []string {
	switch e {
	case held:
		if !a.own {
			return []string{"active", "expired"}
		}
		return []string{"active"}
	case bought:
		return []string{"completed"}
	case cancelled:
		return []string{"cancelled"}
	case lapsed:
		return []string{"expired"}
	case maybeBought, maybeCancelled, vanished:
	}
	return nil // whatever it is
}

// reservations asks about some, spread over all buyers.
func (a *auditor) reservations(ctx context.Context) error {
	var found tally
	every := max(1, (len(a.books.ids)+asked-1)/asked)
	at := 0
	for _, b := range a.buyers {
		for i, id := range b.ids {
			if at++; at%every != 0 {
				continue
			}
			may := a.standsAs(b.ends[i])
			if may == nil {
				continue
			}
			for {
				r, err := a.shop.reservation(ctx, id)
				var refused *refusal
				if err != nil && !errors.As(err, &refused) {
					return err
				}
				if err == nil && slices.Contains(may, r.Status) && r.ID == id && r.Drop == a.before.ID && (r.User == b.user || r.User == 0) {
					found.ok()
					break
				}
				if a.patient() {
					if err := rest(ctx); err != nil {
						return err
					}
					continue
				}
				if err != nil {
					found.failedf("%d: %v", id, err)
				} else {
					found.failedf("%d of user %d should be %v: %+v", id, b.user, may, r)
				}
				break
			}
		}
	}
	if found.all > 0 {
		a.judgef("Reservations stand as their buyers were told", found.bad == 0, "%s", found.says("asked about"))
	}
	return nil
}

// sums judges every reading of the drop.
func (a *auditor) sums() {
	sums := a.sampler.sums
	sums.add(a.books.looks)
	if err := a.after.addsUp(); err != nil {
		sums.failedf("at the end: %v", err)
	} else {
		sums.ok()
	}
	a.judgef("Available + held + sold = total", sums.bad == 0, "%s", sums.says("readings"))
}

// watchers waits until all know what the API says, and judges them.
func (a *auditor) watchers(ctx context.Context) error {
	if a.audience == nil {
		return nil
	}
	n := int64(len(a.audience.all))
	var s standing
	var moved bool // between the readings
	for {
		d, err := a.shop.drop(ctx, a.before.ID)
		if err != nil {
			return err
		}
		moved = d.Version != a.after.Version
		a.after = d
		s = a.audience.against(d)
		if s.behind+s.wrong == 0 || !a.patient() {
			break
		}
		if err := rest(ctx); err != nil {
			return err
		}
	}
	ends := "Each watcher ends on the counters of the API"
	switch {
	case s.behind+s.wrong > 0 && moved && !a.own:
		a.leaveOpenf(ends, "the drop never kept still")
	case s.closed > 0:
		a.judgef(ends, false, "%s of %s were disconnected: %v", grouped(s.closed), grouped(n), s.why)
	default:
		a.judgef(ends, s.behind+s.wrong == 0, "%s of %s do", grouped(n-s.behind-s.wrong), grouped(n))
	}
	a.judgef("No watcher was told an older version after a newer one", s.wentBack == 0, "%s of %s frames were older", grouped(s.wentBack), grouped(s.frames))
	return nil
}

// verdict is no where a check says no.
func verdict(checks []Check) bool {
	return !slices.ContainsFunc(checks, func(c Check) bool { return c.OK != nil && !*c.OK })
}
