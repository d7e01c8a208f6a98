package api

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

func (a *API) newSteering() (err error) {
	a.steering, err = persist.NewSteering(persist.SteeringConfig{
		Engine: a.engine, Store: a.cfg.Store, Webhooks: a.cfg.Webhooks, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.reports, err = newReports(a.engine, a.cfg.Store)
	return err
}

// steer adds the calls that change a drop while it sells, and tell of it.
func (a *API) steer() {
	a.app.Patch("/api/drops/:id", a.changeDrop)
	a.app.Delete("/api/drops/:id/holds/:reservation", a.releaseHold)
	a.app.Get("/api/drops/:id/sales.csv", a.sales)
	a.app.Get("/api/admin/audit", a.audit)
	a.app.Get("/api/admin/log", a.listActs)
}

// asks is who makes a request, for the log of what operators did.
func (a *API) asks(c *fiber.Ctx) persist.By {
	return persist.By{Who: "admin", RequestID: a.requestIDs.of(c), Address: a.clientName(c)}
}

// acted adds to the log what was done already. That it cannot be written undoes nothing.
func (a *API) acted(ctx context.Context, act persist.NewAct) {
	if _, err := a.cfg.Store.WriteAct(ctx, act); err != nil {
		a.log.Error("an act of an operator is missing in the admin log", "action", act.Action, "drop", act.Drop,
			"who", act.By.Who, "request_id", act.By.RequestID, "err", err)
	}
}

func (a *API) changeDrop(c *fiber.Ctx) error {
	drop, err := pathID(c, engine.MaxDropID, engine.ErrDropNotFound)
	if err != nil {
		return err
	}
	body, err := jsonBody(c)
	if err != nil {
		return err
	}
	change, err := decodeChange(body)
	if err != nil {
		return err
	}
	key, err := idempotencyKey(c)
	if err != nil {
		return err
	}
	replayed, err := a.steering.Change(a.context(c), drop, change, a.asks(c), key)
	a.shelf.steered(drop)
	if replayed {
		c.Set("Idempotency-Replayed", "true")
	}
	if err != nil {
		return err
	}
	ready, err := a.shelf.get(query{drop: drop})
	if err != nil {
		return err
	}
	return sendJSON(c, fiber.StatusOK, ready.body)
}

// steered notes that the terms of a drop were changed here, or may have been.
func (s *shelf) steered(drop int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes.stockChanged(drop)
	s.changes.rowChanged(drop)
}

// releaseHold ends a live hold, whoever has it. The log has it before it is done, so that
// nothing is released unseen.
func (a *API) releaseHold(c *fiber.Ctx) error {
	drop, err := pathID(c, engine.MaxDropID, engine.ErrDropNotFound)
	if err != nil {
		return err
	}
	id, err := strconv.ParseInt(c.Params("reservation"), 10, 64)
	if errors.Is(err, strconv.ErrSyntax) {
		return &complaint{"reservation", "must be an integer"}
	}
	if err != nil || id < 1 || id > maxSafeInteger || engine.DropOf(id) != drop {
		return engine.ErrReservationNotFound
	}
	ctx := a.context(c)
	before, err := a.engine.Reservation(ctx, id)
	if err != nil {
		return err
	}
	act, err := a.cfg.Store.WriteAct(ctx, persist.NewAct{By: a.asks(c), Action: "release", Drop: drop, Before: renderReservation(before)})
	if err != nil {
		return err
	}
	r, err := a.engine.Cancel(ctx, id)
	a.shelf.did(drop, err)
	var after any = renderReservation(r)
	if err != nil {
		after = nil
		if f := failureOf(err); f != nil {
			after = map[string]string{"refused": f.code}
		}
	}
	if logErr := a.cfg.Store.EndAct(ctx, act, after); logErr != nil {
		a.log.Error("the outcome of a release is missing in the admin log", "reservation", id, "err", logErr)
	}
	if err != nil {
		return err
	}
	return c.JSON(after)
}

type actsBody struct {
	Acts []actBody `json:"acts"`
}

type actBody struct {
	ID        int64           `json:"id"`
	At        stamp           `json:"at"`
	Who       string          `json:"who"`
	Action    string          `json:"action"`
	DropID    *int64          `json:"DropId"`
	Before    json.RawMessage `json:"before"`
	After     json.RawMessage `json:"after"`
	RequestID *string         `json:"request_id"`
	Address   *string         `json:"address"`
}

func (a *API) listActs(c *fiber.Ctx) error {
	limit, before, err := page(c, maxSafeInteger)
	if err != nil {
		return err
	}
	drop, err := queryInteger(c, "drop", engine.MaxDropID, 0)
	if err != nil {
		return err
	}
	acts, err := a.cfg.Store.Acts(a.context(c), persist.ActsQuery{Limit: limit, Before: before, Drop: drop})
	if err != nil {
		return err
	}
	b := actsBody{Acts: make([]actBody, len(acts))}
	for i, act := range acts {
		b.Acts[i] = actBody{
			ID: act.ID, At: stamp(act.At), Who: act.By.Who, Action: act.Action, DropID: orNil(act.Drop),
			Before: act.Before, After: act.After, RequestID: orNil(act.By.RequestID), Address: orNil(act.By.Address),
		}
	}
	return c.JSON(b)
}
