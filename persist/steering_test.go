package persist_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

// dying is a process that dies around a call of a script: its connection ends
// before the script is sent, or before the answer comes.
type dying struct {
	before, after atomic.Bool
	meanwhile     func() // what happens once while the first answer is on its way; nil: nothing
}

var errDied = errors.New("the process died")

func (d *dying) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return next(ctx, network, address)
	}
}

func (d *dying) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (d *dying) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !strings.HasPrefix(cmd.Name(), "eval") || len(cmd.Args()) < 13 { // change.lua
			return next(ctx, cmd)
		}
		if d.before.Load() {
			cmd.SetErr(errDied)
			return errDied
		}
		err := next(ctx, cmd)
		if happens := d.meanwhile; err == nil && happens != nil {
			d.meanwhile = nil
			happens()
		}
		if err == nil && d.after.Load() {
			cmd.SetErr(errDied)
			return errDied
		}
		return err
	}
}

// mortal is a Steering that can be made to die.
func (e *env) mortal() (*persist.Steering, *dying) {
	e.Helper()
	d := &dying{}
	eng, err := engine.New(engine.Config{Redis: e.redisClient(d), Prefix: e.Prefix, Partitions: partitions})
	must(e, err)
	must(e, eng.Start(e.Context()))
	e.Cleanup(eng.Stop)
	s, err := persist.NewSteering(persist.SteeringConfig{Engine: eng, Store: e.store, Webhooks: e.webhooks})
	must(e, err)
	return s, d
}

func (s *shop) steering() *persist.Steering {
	s.Helper()
	st, err := persist.NewSteering(persist.SteeringConfig{Engine: s.engine, Store: s.store, Webhooks: s.webhooks})
	must(s, err)
	return st
}

var operator = persist.By{Who: "test", RequestID: "r", Address: "::1"}

func add(size string, n int64) persist.Change {
	return persist.Change{Stock: []persist.SizeAdd{{Size: size, Add: n}}}
}

// audited fails unless Redis and Postgres agree, as far as they can be compared.
func (s *shop) audited() {
	s.Helper()
	a, err := persist.NewAuditor(persist.AuditorConfig{Engine: s.engine, Store: s.store})
	must(s, err)
	report, err := a.Patiently(s.Context(), 1)
	must(s, err)
	for _, l := range report.Lines {
		if l.Problem() != "" {
			s.Errorf("drop %d size %q: %s", l.Postgres.Drop, l.Postgres.Size, l.Problem())
		}
	}
}

// settled waits until no change is under way, and both stores have this total.
func (s *shop) settled(drop, total int64) {
	s.Helper()
	harness.Eventually(s, 20*time.Second, func() error {
		must(s, s.recon.Settle(s.Context()))
		if n := s.count(`SELECT count(*) FROM drop_changes WHERE outcome IS NULL`); n > 0 {
			return fmt.Errorf("%d changes under way", n)
		}
		return nil
	})
	if st := s.stock(drop); st.Total != total {
		s.Errorf("total %d in Redis, want %d", st.Total, total)
	}
	if n := s.count(`SELECT total_stock FROM drops WHERE id = $1`, drop); n != total {
		s.Errorf("total %d in Postgres, want %d", n, total)
	}
	if n := s.count(`SELECT sum(coming) FROM drop_sizes WHERE drop_id = $1`, drop); n != 0 {
		s.Errorf("%d units are coming", n)
	}
	s.audited()
}

// TestChangeCutShort has a process die between the two stores, before and after
// Redis has decided, and somebody else finish the change.
func TestChangeCutShort(t *testing.T) {
	s := newShop(t)
	user := s.user()
	for _, decided := range []bool{false, true} {
		for _, next := range []string{"reconciler", "repeat", "other change"} {
			for _, n := range []int64{5, -5} {
				t.Run(fmt.Sprintf("decided %v, %s, %d", decided, next, n), func(t *testing.T) {
					d := s.sells(0, engine.SizeStock{Stock: 10})
					mortal, death := s.mortal()
					death.before.Store(!decided)
					death.after.Store(decided)
					if _, err := mortal.Change(t.Context(), d.ID, add("", n), operator, "key"); !errors.Is(err, engine.ErrUnavailable) {
						t.Fatalf("change: %v", err)
					}
					s.audited()
					if decided && n > 0 { // what was added sells already, and Postgres takes it
						for range 10 + n {
							s.buy(d.ID, user, "")
						}
						s.persists()
						if refused := s.count(`SELECT count(*) FROM refused_purchases`); refused > 0 {
							t.Fatalf("%d purchases were refused", refused)
						}
						s.audited()
					}
					total := 10 + n
					switch next {
					case "repeat":
						replayed, err := s.steering().Change(t.Context(), d.ID, add("", n), operator, "key")
						if err != nil || !replayed {
							t.Errorf("repeat: %v, %v", replayed, err)
						}
					case "other change":
						_, err := s.steering().Change(t.Context(), d.ID, add("", 3), operator, "")
						must(t, err)
						total += 3
					}
					s.settled(d.ID, total)
					if logged := s.count(`SELECT count(*) FROM admin_log WHERE drop_id = $1 AND who = 'test'`, d.ID); next == "other change" && logged != 2 || next != "other change" && logged != 1 {
						t.Errorf("%d entries in the log", logged)
					}
				})
			}
		}
	}
}

// TestRebuildOfARefusedChange has a rebuild come before a change is decided that will be
// refused: it leaves nothing either.
func TestRebuildOfARefusedChange(t *testing.T) {
	s := newShop(t)
	for _, loses := range []bool{false, true} {
		t.Run(fmt.Sprint("lost ", loses), func(t *testing.T) {
			d := s.sells(0, engine.SizeStock{Stock: 3})
			refused := add("", 2)
			price := int64(5) // only before the start
			refused.PriceMinor = &price
			mortal, death := s.mortal()
			death.before.Store(true)
			if _, err := mortal.Change(t.Context(), d.ID, refused, operator, "key"); !errors.Is(err, engine.ErrUnavailable) {
				t.Fatalf("change: %v", err)
			}
			if loses {
				s.lose()
				must(t, s.recon.Settle(t.Context()))
			} else {
				_, err := s.recon.RebuildDrop(t.Context(), d.ID)
				must(t, err)
			}
			replayed, err := s.steering().Change(t.Context(), d.ID, refused, operator, "key")
			if !errors.Is(err, engine.ErrAlreadyStarted) || !replayed {
				t.Errorf("repeat: %v, %v", replayed, err)
			}
			s.settled(d.ID, 3)
		})
	}
}

// TestRefusedChangeLeavesNothing is cut short too: the refusal is what counts.
func TestRefusedChangeLeavesNothing(t *testing.T) {
	s := newShop(t)
	d := s.sells(0, engine.SizeStock{Size: "S", Stock: 4}, engine.SizeStock{Size: "M", Stock: 4})
	hold := s.hold(d.ID, s.user(), "M")
	mixed := persist.Change{Stock: []persist.SizeAdd{{Size: "S", Add: 6}, {Size: "M", Add: -4}}}
	mortal, death := s.mortal()
	death.after.Store(true)
	if _, err := mortal.Change(t.Context(), d.ID, mixed, operator, "key"); !errors.Is(err, engine.ErrUnavailable) {
		t.Fatalf("change: %v", err)
	}
	_, err := s.engine.Cancel(t.Context(), hold.ID) // now it could be made
	must(t, err)
	replayed, err := s.steering().Change(t.Context(), d.ID, mixed, operator, "key")
	if !errors.Is(err, engine.ErrNotEnough) || !replayed {
		t.Errorf("repeat: %v, %v", replayed, err)
	}
	s.settled(d.ID, 8)
	if n := s.count(`SELECT count(*) FROM admin_log`); n != 0 {
		t.Errorf("%d entries in the log", n)
	}
}

// TestRebuildKeepsChanges has Redis lose its data, and go back to before the changes.
func TestRebuildKeepsChanges(t *testing.T) {
	s := newShop(t)
	user := s.user()
	for name, loses := range map[string]bool{"lost": true, "lagging replica": false} {
		t.Run(name, func(t *testing.T) {
			d := s.sells(2, engine.SizeStock{Size: "S", Stock: 4}, engine.SizeStock{Size: "M", Stock: 6})
			s.buy(d.ID, user, "S")
			s.persists()
			earlier := s.keep()
			end := time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
			five := int64(5)
			_, err := s.steering().Change(t.Context(), d.ID, persist.Change{
				State: engine.StatePaused, End: &end, Limit: &five,
				Stock: []persist.SizeAdd{{Size: "S", Add: 6}, {Size: "M", Add: -6}},
			}, operator, "")
			must(t, err)
			if loses {
				s.lose()
			} else {
				s.promote(earlier)
			}
			must(t, s.recon.Settle(t.Context()))
			st := s.stock(d.ID)
			if st.State != engine.StatePaused || !st.End.Equal(end) || st.Limit != 5 || st.Sizes[0].Total != 10 || st.Sizes[1].Total != 0 || st.Sold != 1 {
				t.Errorf("%+v", st)
			}
			_, err = s.steering().Change(t.Context(), d.ID, persist.Change{State: engine.StateOpen}, operator, "")
			must(t, err)
			s.hold(d.ID, user, "S")
			s.settled(d.ID, 10)
		})
	}
}

// TestRebuildDuringAChange has Redis lose a change under way of which units were sold.
func TestRebuildDuringAChange(t *testing.T) {
	s := newShop(t)
	user := s.user()
	for name, loses := range map[string]bool{"lost": true, "lagging replica": false} {
		for _, sign := range []int64{1, -1} {
			t.Run(fmt.Sprint(name, sign), func(t *testing.T) {
				d := s.sells(0, engine.SizeStock{Stock: 3})
				earlier := s.keep()
				mortal, death := s.mortal()
				death.after.Store(true)
				if _, err := mortal.Change(t.Context(), d.ID, add("", 2*sign), operator, ""); !errors.Is(err, engine.ErrUnavailable) {
					t.Fatalf("change: %v", err)
				}
				sold := 3 + 2*sign
				for range sold {
					s.buy(d.ID, user, "")
				}
				s.persists()
				if loses {
					s.lose()
				} else {
					s.promote(earlier)
				}
				s.settled(d.ID, 3+2*sign)
				s.wants(d.ID, 0, 0, sold)
				if n := s.count(`SELECT count(*) FROM refused_purchases`); n > 0 {
					t.Errorf("%d purchases were refused", n)
				}
			})
		}
	}
}

// TestRebuildBringsNewTermsToHolds has a replica that lags behind a change that took
// units away: of its holds those have to go that do not fit any more.
func TestRebuildBringsNewTermsToHolds(t *testing.T) {
	s := newShop(t)
	user := s.user()
	d := s.sells(0, engine.SizeStock{Stock: 3})
	for range 3 {
		s.hold(d.ID, user, "")
	}
	earlier := s.keep()
	for _, h := range must2(s.engine.Holds(t.Context(), d.ID, 10)) {
		_, err := s.engine.Cancel(t.Context(), h.ID)
		must(t, err)
	}
	_, err := s.steering().Change(t.Context(), d.ID, add("", -2), operator, "")
	must(t, err)
	s.promote(earlier)
	s.settled(d.ID, 1)
	s.wants(d.ID, 0, 1, 0)
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestTwoSteer has two instances change one drop at once: each change is made once.
func TestTwoSteer(t *testing.T) {
	s := newShop(t)
	d := s.sells(0, engine.SizeStock{Size: "S", Stock: 100}, engine.SizeStock{Size: "M", Stock: 100})
	other := s.instance()
	must(t, other.recon.Settle(t.Context()))
	var all sync.WaitGroup
	for i, in := range []*shop{s, other} {
		for j := range 2 {
			all.Go(func() {
				size := []string{"S", "M"}[j]
				for n := range int64(10) {
					key := fmt.Sprint(i, j, n)
					for range 2 {
						if _, err := in.steering().Change(t.Context(), d.ID, add(size, n-3), operator, key); n != 3 && err != nil {
							t.Errorf("add %d: %v", n-3, err)
						}
					}
				}
			})
		}
	}
	all.Wait()
	const sum = -3 + -2 + -1 + 1 + 2 + 3 + 4 + 5 + 6
	s.settled(d.ID, 200+4*sum)
	if n := s.count(`SELECT count(*) FROM admin_log WHERE action = 'change'`); n != 40 {
		t.Errorf("%d entries in the log, want 40", n)
	}
}

// TestTwoGoOnWithALostNumber has two find a change whose number Redis has for another one: it
// is made once, and the slower one does not make it again over what came after it.
func TestTwoGoOnWithALostNumber(t *testing.T) {
	s := newShop(t)
	d := s.sells(0, engine.SizeStock{Stock: 3})
	_, err := s.steering().Change(t.Context(), d.ID, persist.Change{State: engine.StateOpen}, operator, "")
	must(t, err)
	_, err = s.sql.Exec(t.Context(), `DELETE FROM drop_changes`)
	must(t, err)
	_, err = s.sql.Exec(t.Context(), `UPDATE drops SET change = 0`)
	must(t, err)

	pause := persist.Change{State: engine.StatePaused}
	hook := &beforeStock{}
	eng, err := engine.New(engine.Config{Redis: s.redisClient(hook), Prefix: s.Prefix, Partitions: partitions})
	must(t, err)
	must(t, eng.Start(t.Context()))
	t.Cleanup(eng.Stop)
	slow, err := persist.NewSteering(persist.SteeringConfig{Engine: eng, Store: s.store, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	hook.meanwhile = func() {
		_, err := s.steering().Change(t.Context(), d.ID, pause, operator, "key")
		must(t, err)
		_, err = s.steering().Change(t.Context(), d.ID, persist.Change{State: engine.StateOpen}, operator, "")
		must(t, err)
	}
	if _, err := slow.Change(t.Context(), d.ID, pause, operator, "key"); !errors.Is(err, persist.ErrUnavailable) {
		t.Errorf("the slower one: %v", err)
	}
	if hook.meanwhile != nil {
		t.Fatal("nobody came before it")
	}
	if n := s.count(`SELECT count(*) FROM drops WHERE id = $1 AND state = 'open'`, d.ID); n != 1 || s.stock(d.ID).State != engine.StateOpen {
		t.Errorf("open in %d of Postgres, in Redis %s", n, s.stock(d.ID).State)
	}
	if replayed, err := slow.Change(t.Context(), d.ID, pause, operator, "key"); err != nil || !replayed {
		t.Errorf("repeated: %v, %v", replayed, err)
	}
}

// beforeStock does something once, before the stock of drops is read.
type beforeStock struct{ meanwhile func() }

func (h *beforeStock) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *beforeStock) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (h *beforeStock) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if do := h.meanwhile; do != nil && cmds[0].Name() == "hgetall" {
			h.meanwhile = nil
			do()
		}
		return next(ctx, cmds)
	}
}

// TestPostgresLosesAChange has Postgres go back to before changes that Redis has decided:
// the next change is made, and not taken for the one that has its number.
func TestPostgresLosesAChange(t *testing.T) {
	for _, lost := range []int{1, 3} {
		t.Run(strconv.Itoa(lost), func(t *testing.T) {
			s := newShop(t)
			d := s.sells(0, engine.SizeStock{Stock: 3})
			for range lost {
				_, err := s.steering().Change(t.Context(), d.ID, persist.Change{State: engine.StatePaused}, operator, "")
				must(t, err)
			}
			_, err := s.sql.Exec(t.Context(), `DELETE FROM drop_changes`)
			must(t, err)
			_, err = s.sql.Exec(t.Context(), `UPDATE drops SET state = 'open', change = 0`)
			must(t, err)
			both := add("", 2)
			both.State = engine.StateEnded
			_, err = s.steering().Change(t.Context(), d.ID, both, operator, "key")
			must(t, err)
			if st := s.stock(d.ID); st.State != engine.StateEnded {
				t.Errorf("%s in Redis", st.State)
			}
			replayed, err := s.steering().Change(t.Context(), d.ID, both, operator, "key")
			if err != nil || !replayed {
				t.Errorf("repeat: %v, %v", replayed, err)
			}
			s.settled(d.ID, 5)
			if n := s.count(`SELECT count(*) FROM drops WHERE state = 'ended' AND change = $1`, lost+1); n != 1 {
				t.Error("Postgres has other terms than Redis")
			}
		})
	}
}

// TestDecisionOfAnEpochBefore has a rebuild come between Redis's decision and Postgres:
// what was decided before counts for nothing, since the Redis that decided may be gone.
func TestDecisionOfAnEpochBefore(t *testing.T) {
	s := newShop(t)
	d := s.sells(0, engine.SizeStock{Stock: 3})
	earlier := s.keep()
	mortal, death := s.mortal()
	death.meanwhile = func() {
		s.promote(earlier)
		must(t, s.recon.Settle(t.Context()))
	}
	if _, err := mortal.Change(t.Context(), d.ID, add("", 2), operator, ""); err != nil {
		t.Errorf("change: %v", err)
	}
	s.settled(d.ID, 5)
}

// A drop whose counters do not add up can be paused and ended, also after a change of its
// stock, which is refused; a rebuild sets it right.
func TestACorruptDropStopsNobody(t *testing.T) {
	s := newShop(t)
	d := s.sells(0, engine.SizeStock{Stock: 3})
	keys, err := s.redis.Keys(t.Context(), "*drop:*").Result()
	must(t, err)
	must(t, s.redis.HIncrBy(t.Context(), keys[0], "a:", 1).Err()) // a foreign hand
	if _, err := s.steering().Change(t.Context(), d.ID, persist.Change{State: engine.StatePaused}, operator, ""); err != nil {
		t.Errorf("pause: %v", err)
	}
	if s.count(`SELECT count(*) FROM drops WHERE id = $1 AND state = 'paused'`, d.ID) != 1 {
		t.Error("it is not paused")
	}
	if _, err := s.steering().Change(t.Context(), d.ID, add("", 2), operator, ""); !errors.Is(err, engine.ErrCorrupt) {
		t.Errorf("stock added: %v", err)
	}
	if _, err := s.steering().Change(t.Context(), d.ID, persist.Change{State: engine.StateEnded}, operator, ""); err != nil {
		t.Errorf("end, after stock could not be added: %v", err)
	}
	if n := s.count(`SELECT count(*) FROM drop_changes WHERE outcome IS NULL`) + s.count(`SELECT sum(coming) FROM drop_sizes`); n != 0 {
		t.Errorf("%d changes or units are under way still", n)
	}
	must(t, s.instance().recon.Settle(t.Context()))
	_, err = s.recon.RebuildDrop(t.Context(), d.ID)
	must(t, err)
	s.settled(d.ID, 3)
}
