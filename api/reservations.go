package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/holdfast/holdfast/api/fair"
	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

func (a *API) reserve(c *fiber.Ctx) error {
	body, err := jsonBody(c)
	if err != nil {
		return err
	}
	caller := callerOf(c)
	b, err := decodeReserve(body, caller)
	if err != nil {
		return err
	}
	key, err := idempotencyKey(c)
	if err != nil {
		return err
	}
	ctx := a.context(c)
	user := caller
	if user == 0 {
		if user, err = a.person(ctx, b); err != nil {
			return err
		}
	}
	if err := a.fairTo(fair.Reserve, user); err != nil {
		return err
	}
	r, err := a.engine.Reserve(ctx, engine.ReserveRequest{Drop: b.drop, User: user, Size: b.size, Key: key})
	if errors.Is(err, engine.ErrChallengeRequired) {
		r, err = a.reserveChallenged(c, ctx, b, user, key)
	}
	a.shelf.did(b.drop, err)
	if err != nil {
		return err
	}
	if r.Replayed {
		c.Set("Idempotency-Replayed", "true")
		// The key remembers the hold as it began; say how it stands.
		if now, err := a.engine.Reservation(ctx, r.ID); err == nil {
			r.Status, r.Ended = now.Status, now.Ended
		}
	}
	hold := renderReservation(r)
	return sendReservation(c, fiber.StatusCreated, &hold)
}

// person is the id of who reserves: somebody known, or a guest who is found or
// added.
func (a *API) person(ctx context.Context, b reserveBody) (int64, error) {
	if b.user != 0 {
		err := a.users.Known(ctx, b.user)
		if errors.Is(err, persist.ErrNotFound) {
			err = errUserNotFound
		}
		return b.user, err
	}
	u, _, err := a.users.FindOrCreate(ctx, b.userName, b.email)
	if errors.Is(err, persist.ErrInvalid) {
		err = &complaint{"userName", "cannot be stored"}
	}
	return u.ID, err
}

// idempotencyKey is the header's value, empty if there is no such header. An
// empty header is refused: its sender believes to be safe from buying twice.
func idempotencyKey(c *fiber.Ctx) (string, error) {
	const header = "Idempotency-Key"
	given := c.Request().Header.PeekAll(header)
	switch len(given) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", &complaint{header, "is given twice"}
	}
	key := string(given[0])
	bad := strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' })
	if bad || key == "" || len(key) > engine.MaxKey {
		return "", &complaint{header, "must be 1 to 128 printable ASCII characters"}
	}
	return key, nil
}

func (a *API) purchase(c *fiber.Ctx) error {
	id, err := reservationID(c)
	if err != nil {
		return err
	}
	ctx, owner := a.context(c), callerOf(c)
	if err := a.fairTo(fair.Purchase, owner); err != nil {
		return err
	}
	r, err := a.engine.PurchaseBy(ctx, id, owner)
	a.shelf.did(engine.DropOf(id), err)
	if errors.Is(err, engine.ErrExpired) || errors.Is(err, engine.ErrReservationNotFound) {
		// A Redis that lost its data does not know the receipt; Postgres may.
		if past, pastErr := a.past(ctx, id, owner); pastErr == nil && past.Confirmed {
			receipt := renderReceipt(past.Reservation)
			receipt.Purchase.Persisted = confirmed
			a.shelf.confirmed(engine.DropOf(id))
			return c.JSON(receipt)
		}
	}
	if err != nil {
		return a.toOwner(ctx, id, owner, err)
	}
	status := fiber.StatusCreated
	if r.Replayed {
		status = fiber.StatusOK
	}
	receipt := renderReceipt(r)
	return sendReceipt(c, status, &receipt)
}

func (a *API) cancel(c *fiber.Ctx) error {
	id, err := reservationID(c)
	if err != nil {
		return err
	}
	ctx, owner := a.context(c), callerOf(c)
	if err := a.fairTo(fair.Cancel, owner); err != nil {
		return err
	}
	r, err := a.engine.CancelBy(ctx, id, owner)
	a.shelf.did(engine.DropOf(id), err)
	if err != nil {
		return a.toOwner(ctx, id, owner, err)
	}
	return c.JSON(renderReservation(r))
}

// toOwner keeps from others that a hold has lapsed: Redis alone does not know
// any more whose it was, so whoever it cannot be proved for hears of no hold.
func (a *API) toOwner(ctx context.Context, id, owner int64, err error) error {
	if owner == 0 || !errors.Is(err, engine.ErrExpired) {
		return err
	}
	if _, lost := a.lookUp(ctx, id, owner); lost != nil {
		return lost
	}
	return err
}

func reservationID(c *fiber.Ctx) (int64, error) {
	body, err := jsonBody(c)
	if err != nil {
		return 0, err
	}
	return decodeReservationID(body)
}

func (a *API) getReservation(c *fiber.Ctx) error {
	id, err := pathID(c, maxSafeInteger, engine.ErrReservationNotFound)
	if err != nil {
		return err
	}
	ctx, owner := a.context(c), callerOf(c)
	if err := a.fairTo(fair.Read, owner); err != nil {
		return err
	}
	b, err := a.lookUp(ctx, id, owner)
	if err != nil {
		return err
	}
	return c.JSON(b)
}

// lookUp asks Redis, which knows what is live, and Postgres for what has ended:
// it alone knows whether a purchase is confirmed and, in the end, who held a
// lapsed hold. Either may be away; what the other knows is answered then. What is
// not the owner's, or may be another's, is not found.
func (a *API) lookUp(ctx context.Context, id, owner int64) (reservationBody, error) {
	r, err := a.engine.OwnReservation(ctx, id, owner)
	if err == nil && r.Status == engine.StatusActive {
		return renderReservation(r), nil
	}
	if err == nil && r.Status != engine.StatusCompleted && r.User != 0 {
		return renderReservation(r), nil // nothing that Postgres could add
	}
	past, pastErr := a.past(ctx, id, owner)
	if pastErr == nil {
		b := renderReservation(past.Reservation)
		if past.Confirmed {
			b.Persisted = confirmed
			a.shelf.confirmed(b.DropID)
		}
		return b, nil
	}
	if err != nil && errors.Is(err, engine.ErrReservationNotFound) && !errors.Is(pastErr, persist.ErrNotFound) {
		err = pastErr // it may be in the history
	}
	if err == nil && owner != 0 && r.User != owner {
		err = pastErr // the history alone could tell whose it is
		if errors.Is(err, persist.ErrNotFound) {
			err = engine.ErrReservationNotFound
		}
	}
	return renderReservation(r), err
}

// past is what Postgres knows of a reservation; persist.ErrNotFound where it is
// not the owner's.
func (a *API) past(ctx context.Context, id, owner int64) (persist.Reservation, error) {
	r, err := a.catalogue.store.Reservation(ctx, id)
	if err == nil && owner != 0 && r.User != owner {
		return persist.Reservation{}, fmt.Errorf("reservation %d of user %d: %w", id, owner, persist.ErrNotFound)
	}
	return r, err
}
