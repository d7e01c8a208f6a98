package api

import (
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// query is what a GET of drops asks for.
type query struct {
	drop   int64 // this one; 0: a page of the catalogue
	limit  int
	before int64
}

// view is what one query was answered with, and what that was made of.
type view struct {
	query  query
	answer *answer // nil before the first flight has landed

	// As of this moment nothing was due before until.
	as    moment
	until time.Time

	flight *flight // that is under way
	next   *flight // that begins when it has landed

	// Changed by flights alone.
	shown  []shown
	rowsAs moment // when the rows were read
	rowsAt time.Time
}

// size is what of a view counts towards maxViewBytes.
func (v *view) size() int {
	if v.answer == nil {
		return 0
	}
	return len(v.answer.body)
}

// shown is one drop in a view.
type shown struct {
	row     persist.Drop
	stock   *engine.Stock // nil where Redis does not have the drop
	stockAs moment        // when it was read
	stockAt time.Time
	json    []byte // of both; a part of the answer's body
}

// answer is a 200 as it is sent. It does not change.
type answer struct {
	body []byte
	tag  string
}

// send answers with the body, or 304 where the caller has it.
func (a *answer) send(c *fiber.Ctx) error {
	if conditional(c, a.tag) {
		return nil
	}
	c.Response().Header.SetContentType(fiber.MIMEApplicationJSON)
	c.Response().SetBodyRaw(a.body)
	return nil
}
