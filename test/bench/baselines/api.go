package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"
)

// routes are those of Holdfast's that the bench calls.
func routes(app *fiber.App, db *database, s seller) {
	app.Get("/readyz", func(c *fiber.Ctx) error { return c.JSON(fiber.Map{"status": "ready"}) })
	app.Post("/api/drops/create", func(c *fiber.Ctx) error { return create(c, db) })
	app.Post("/api/drops/reserve", func(c *fiber.Ctx) error { return reserve(c, db, s) })
	app.Post("/api/drops/purchase", func(c *fiber.Ctx) error { return purchase(c, s) })
	app.Get("/api/drops", func(c *fiber.Ctx) error { return list(c, db) })
	app.Get("/api/drops/:id", func(c *fiber.Ctx) error { return show(c, db) })
}

// callTimeout bounds what one request may wait for.
const callTimeout = 10 * time.Second

// complaint is what is wrong with a request.
type complaint string

func (c complaint) Error() string { return string(c) }

// decode reads a body that is one JSON object of known fields.
func decode(c *fiber.Ctx, to any) error {
	if c.Get(fiber.HeaderContentType) != fiber.MIMEApplicationJSON {
		return complaint("Content-Type must be application/json")
	}
	d := json.NewDecoder(bytes.NewReader(c.Request().Body()))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return complaint(err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return complaint("body has more than one JSON value")
	}
	return nil
}

func create(c *fiber.Ctx, db *database) error {
	n := newDrop{HoldSeconds: 60}
	if err := decode(c, &n); err != nil {
		return err
	}
	if n.Name == "" || n.TotalStock < 1 || n.Start.IsZero() || n.HoldSeconds <= 0 {
		return complaint("name, total_stock, start_time and hold_seconds are required")
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	id, err := db.create(ctx, n)
	if err != nil {
		return err
	}
	body, err := db.show(ctx, id)
	if err != nil {
		return err
	}
	return c.Status(fiber.StatusCreated).JSON(body)
}

func reserve(c *fiber.Ctx, db *database, s seller) error {
	var b struct {
		Drop int64 `json:"dropId"`
		User int64 `json:"userId"`
	}
	if err := decode(c, &b); err != nil {
		return err
	}
	if b.User < 1 || b.User > int64(db.people) {
		return fmt.Errorf("user %w", errNotFound)
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	d, err := db.drop(ctx, b.Drop)
	if err != nil {
		return err
	}
	h, err := s.reserve(ctx, d, b.User)
	if err != nil {
		return err
	}
	return c.Status(fiber.StatusCreated).JSON(reservationBody{
		ID: h.id, UserID: h.user, DropID: h.drop, Status: "active", CreatedAt: stamp(h.created), ExpiresAt: stamp(h.deadline),
	})
}

func purchase(c *fiber.Ctx, s seller) error {
	var b struct {
		ID int64 `json:"reservationId"`
	}
	if err := decode(c, &b); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	r, err := s.purchase(ctx, b.ID)
	if err != nil {
		return err
	}
	status := fiber.StatusCreated
	if r.repeated {
		status = fiber.StatusOK
	}
	return c.Status(status).JSON(receiptBody{Message: "Purchase successful", Purchase: purchaseBody{
		ID: r.id, UserID: r.user, DropID: r.drop, ReservationID: r.id, PurchasedAt: stamp(r.at), Persisted: "confirmed",
	}})
}

func list(c *fiber.Ctx, db *database) error {
	limit := c.QueryInt("limit", 100)
	if limit < 1 || limit > 1000 {
		return complaint("limit must be between 1 and 1000")
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	drops, err := db.list(ctx, limit)
	if err != nil {
		return err
	}
	return c.JSON(drops)
}

func show(c *fiber.Ctx, db *database) error {
	id, err := strconv.ParseInt(c.Params("id"), 10, 64)
	if err != nil {
		return complaint("id must be an integer")
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	body, err := db.show(ctx, id)
	if err != nil {
		return err
	}
	return c.JSON(body)
}

// fail answers an error.
func fail(c *fiber.Ctx, err error) error {
	status, code, text := fiber.StatusInternalServerError, "internal_error", err.Error()
	var wrong complaint
	var route *fiber.Error
	switch {
	case errors.Is(err, errOutOfStock):
		status, code, text = 400, "out_of_stock", "Out of stock"
	case errors.Is(err, errNotStarted):
		status, code = 409, "not_started"
	case errors.Is(err, errExpired):
		status, code = 410, "reservation_expired"
	case errors.Is(err, errNotFound):
		status, code = 404, "not_found"
	case errors.As(err, &wrong):
		status, code = 400, "invalid_request"
	case errors.As(err, &route):
		status, code = route.Code, "invalid_request"
	}
	return c.Status(status).JSON(errorBody{Error: text, Code: code})
}
