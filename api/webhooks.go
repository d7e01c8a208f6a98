package api

import (
	"errors"

	"github.com/gofiber/fiber/v2"

	"github.com/holdfast/holdfast/persist"
)

// What an operator sees of webhooks: the deliveries that were given up.

var errDeliveryNotFound = errors.New("delivery not found")

type deadBody struct {
	Deliveries []deliveryBody `json:"deliveries"`
}

type deliveryBody struct {
	ID         int64  `json:"id"`
	Event      string `json:"event"`
	Type       string `json:"type"`
	URL        string `json:"url"`
	Attempts   int    `json:"attempts"`
	LastError  string `json:"last_error"`
	OccurredAt stamp  `json:"occurred_at"`
	GivenUpAt  stamp  `json:"given_up_at"`
}

func (a *API) listDeadDeliveries(c *fiber.Ctx) error {
	limit, before, err := page(c, maxSafeInteger)
	if err != nil {
		return err
	}
	dead, err := a.cfg.Store.DeadDeliveries(a.context(c), limit, before)
	if err != nil {
		return err
	}
	b := deadBody{Deliveries: make([]deliveryBody, len(dead))}
	for i, d := range dead {
		b.Deliveries[i] = deliveryBody{
			ID: d.ID, Event: d.Event.ID, Type: d.Type, URL: d.URL, Attempts: d.Attempts, LastError: d.Error,
			OccurredAt: stamp(d.Occurred), GivenUpAt: stamp(d.Ended),
		}
	}
	return c.JSON(b)
}

func (a *API) resendDelivery(c *fiber.Ctx) error {
	id, err := pathID(c, maxSafeInteger, errDeliveryNotFound)
	if err != nil {
		return err
	}
	ctx := a.context(c)
	err = a.cfg.Store.Resend(ctx, id)
	if errors.Is(err, persist.ErrNotFound) {
		err = errDeliveryNotFound
	}
	if err != nil {
		return err
	}
	a.acted(ctx, persist.NewAct{By: a.asks(c), Action: "resend", After: map[string]int64{"delivery": id}})
	return c.JSON(fiber.Map{"id": id, "state": persist.DeliveryWaiting})
}
