package api

import (
	"errors"

	"github.com/gofiber/fiber/v2"

	"github.com/holdfast/holdfast/api/fair"
	"github.com/holdfast/holdfast/persist"
)

func (a *API) createUser(c *fiber.Ctx) error {
	body, err := jsonBody(c)
	if err != nil {
		return err
	}
	b, err := decodeUser(body)
	if err != nil {
		return err
	}
	ctx := a.context(c)
	u, created, err := a.users.FindOrCreate(ctx, b.username, b.email)
	if errors.Is(err, persist.ErrInvalid) {
		err = &complaint{"username", "cannot be stored"}
	}
	if err != nil {
		return err
	}
	status := fiber.StatusOK
	if created {
		status = fiber.StatusCreated
	}
	return c.Status(status).JSON(renderUser(u))
}

func (a *API) getUser(c *fiber.Ctx) error {
	id, err := pathID(c, maxSafeInteger, errUserNotFound)
	if err != nil {
		return err
	}
	caller := callerOf(c)
	if err := a.fairTo(fair.Read, caller); err != nil {
		return err
	}
	if caller != 0 && caller != id {
		return errUserNotFound // who else there is, is not theirs to know
	}
	ctx := a.context(c)
	u, err := a.users.User(ctx, id)
	if errors.Is(err, persist.ErrNotFound) {
		err = errUserNotFound
	}
	if err != nil {
		return err
	}
	return c.JSON(renderUser(u))
}
