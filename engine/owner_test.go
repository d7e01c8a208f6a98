package engine_test

import (
	"testing"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

func TestReservationIsItsOwners(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	ctx := t.Context()
	open(t, e, 1, 5)
	const ada, bob = 7, 8
	r := reserve(t, e, engine.ReserveRequest{Drop: 1, User: ada})
	_, err := e.OwnReservation(ctx, r.ID, bob)
	wantErr(t, err, engine.ErrReservationNotFound)
	_, err = e.PurchaseBy(ctx, r.ID, bob)
	wantErr(t, err, engine.ErrReservationNotFound)
	_, err = e.CancelBy(ctx, r.ID, bob)
	wantErr(t, err, engine.ErrReservationNotFound)
	_, err = e.PurchaseBy(ctx, r.ID, -1)
	wantErr(t, err, engine.ErrReservationNotFound)
	if err := stockIs(t, e, 1, 4, 1, 0); err != nil {
		t.Error(err)
	}
	got, err := e.PurchaseBy(ctx, r.ID, ada)
	if err != nil || got.User != ada || got.Replayed {
		t.Fatalf("%+v, %v", got, err)
	}
	_, err = e.PurchaseBy(ctx, r.ID, bob)
	wantErr(t, err, engine.ErrReservationNotFound)
	_, err = e.CancelBy(ctx, r.ID, bob)
	wantErr(t, err, engine.ErrReservationNotFound)
	_, err = e.CancelBy(ctx, r.ID, ada)
	wantErr(t, err, engine.ErrCompleted)
	if got, err := e.Purchase(ctx, r.ID); err != nil || !got.Replayed { // where nobody asks who it is
		t.Errorf("%+v, %v", got, err)
	}
	if err := stockIs(t, e, 1, 4, 0, 1); err != nil {
		t.Error(err)
	}
}

func TestLapsedHoldIsItsOwners(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	ctx := t.Context()
	open(t, e, 1, 5, hold(engine.MinHold))
	const ada, bob = 7, 8
	r := reserve(t, e, engine.ReserveRequest{Drop: 1, User: ada})
	overdueIs(t, e, 1, 1)
	_, err := e.OwnReservation(ctx, r.ID, bob)
	wantErr(t, err, engine.ErrReservationNotFound)
	runExpirer(t, e, engine.ExpirerConfig{})
	harness.Eventually(t, 5*time.Second, func() error { return stockIs(t, e, 1, 5, 0, 0) })
	_, err = e.OwnReservation(ctx, r.ID, bob)
	wantErr(t, err, engine.ErrReservationNotFound)
	if got, err := e.OwnReservation(ctx, r.ID, ada); err != nil || got.Status != engine.StatusExpired || got.User != ada {
		t.Errorf("%+v, %v", got, err)
	}
}
