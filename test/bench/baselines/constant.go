package main

import (
	"encoding/json"
	"os"
	"sync/atomic"

	"github.com/gofiber/fiber/v2"
)

// constant answers each call with the same bytes, without reading what was
// asked: no server on fiber can be faster. Once a drop was created with a
// single unit, reserves are answered as sold out.
func constant(app *fiber.App, list string) error {
	held, err := json.Marshal(reservationBody{ID: 3221225472, UserID: 1, DropID: 6, Status: "active"})
	if err != nil {
		return err
	}
	sold, err := json.Marshal(receiptBody{Message: "Purchase successful", Purchase: purchaseBody{
		ID: 3221225472, UserID: 1, DropID: 6, ReservationID: 3221225472, Persisted: "accepted",
	}})
	if err != nil {
		return err
	}
	drops := []byte("[]")
	if list != "" {
		if drops, err = os.ReadFile(list); err != nil {
			return err
		}
	}
	out := []byte(`{"error":"Out of stock","code":"out_of_stock"}`)
	send := func(c *fiber.Ctx, status int, body []byte) error {
		c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.Status(status).Send(body)
	}
	var soldOut atomic.Bool
	app.Get("/readyz", func(c *fiber.Ctx) error { return c.SendStatus(fiber.StatusOK) })
	app.Post("/api/drops/create", func(c *fiber.Ctx) error {
		var n newDrop
		if err := decode(c, &n); err != nil {
			return err
		}
		soldOut.Store(n.TotalStock == 1)
		return send(c, fiber.StatusCreated, []byte(`{"id":6}`))
	})
	app.Post("/api/drops/reserve", func(c *fiber.Ctx) error {
		if soldOut.Load() {
			return send(c, fiber.StatusBadRequest, out)
		}
		return send(c, fiber.StatusCreated, held)
	})
	app.Post("/api/drops/purchase", func(c *fiber.Ctx) error { return send(c, fiber.StatusCreated, sold) })
	app.Get("/api/drops", func(c *fiber.Ctx) error { return send(c, fiber.StatusOK, drops) })
	return nil
}
