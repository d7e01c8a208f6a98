package api

import (
	"context"
	"errors"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

func (a *API) createDrop(c *fiber.Ctx) error {
	body, err := jsonBody(c)
	if err != nil {
		return err
	}
	n, err := decodeDrop(body)
	if err != nil {
		return err
	}
	if n.Challenge && a.cfg.Challenge == nil {
		return errNoVerifier
	}
	ctx := a.context(c)
	d, err := a.catalogue.create(ctx, a.engine, n)
	a.shelf.created()
	if err != nil {
		return err
	}
	a.acted(ctx, persist.NewAct{By: a.asks(c), Action: "create", Drop: d.ID, After: d.LogTerms()})
	stock, err := a.engine.Stock(ctx, []int64{d.ID})
	if err != nil {
		return err
	}
	return c.Status(fiber.StatusCreated).JSON(renderDrop(d, stock[0]))
}

func (a *API) listDrops(c *fiber.Ctx) error {
	limit, before, err := page(c, engine.MaxDropID)
	if err != nil {
		return err
	}
	return a.show(c, query{limit: limit, before: before})
}

func (a *API) getDrop(c *fiber.Ctx) error {
	id, err := pathID(c, engine.MaxDropID, engine.ErrDropNotFound)
	if err != nil {
		return err
	}
	return a.show(c, query{drop: id})
}

func (a *API) show(c *fiber.Ctx, q query) error {
	ready, err := a.shelf.get(q)
	if err != nil {
		return err
	}
	return ready.send(c)
}

const (
	defaultPage = 100
	maxPage     = 1000
)

// queryInteger reads an optional query parameter, from 1 to high.
func queryInteger(c *fiber.Ctx, name string, high, otherwise int64) (int64, error) {
	raw := c.Query(name)
	if raw == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(raw, 10, 64)
	if err != nil || n < 1 || n > high {
		return 0, &complaint{name, "must be an integer between 1 and " + strconv.FormatInt(high, 10)}
	}
	return n, nil
}

// page is what a list that goes on from one page to the next is asked for: at most
// so many, with smaller ids than before (0: the newest), which are highest at most.
func page(c *fiber.Ctx, highest int64) (limit int, before int64, err error) {
	most, err := queryInteger(c, "limit", maxPage, defaultPage)
	if err != nil {
		return 0, 0, err
	}
	before, err = queryInteger(c, "before", highest, 0)
	return int(most), before, err
}

// pathID reads the id in the path. A number that no row can have is not found;
// anything but a number is a complaint.
func pathID(c *fiber.Ctx, high int64, notFound error) (int64, error) {
	raw := c.Params("id")
	n, err := strconv.ParseInt(raw, 10, 64)
	switch {
	case err == nil && n >= 1 && n <= high:
		return n, nil
	case err == nil || errors.Is(err, strconv.ErrRange):
		return 0, notFound
	}
	return 0, &complaint{"id", "must be an integer"}
}

// catalogue reads drops from Postgres and remembers the newest answers, so that
// browsing goes on while Postgres is away.
type catalogue struct {
	store  *persist.Store
	buyers int
	recent *recentDrops
}

func newCatalogue(store *persist.Store, buyers int) *catalogue {
	return &catalogue{store: store, buyers: buyers, recent: newRecentDrops()}
}

// create adds the drop to Postgres, opens it in Redis and notes that. A drop
// that Redis refused is taken back. One whose opening has no known outcome stays
// in Postgres unopened and unlisted, so that what Redis may sell of it can be
// written; the next start of an instance opens it.
func (k *catalogue) create(ctx context.Context, e *engine.Engine, n persist.NewDrop) (persist.Drop, error) {
	d, err := k.store.CreateDrop(ctx, n)
	if err != nil {
		if errors.Is(err, persist.ErrInvalid) {
			return d, &complaint{"body", "has a value that cannot be stored"}
		}
		return d, err
	}
	if err := e.Open(ctx, d.Terms(1)); err != nil {
		if errors.Is(err, engine.ErrUnavailable) {
			return d, err
		}
		return d, errors.Join(err, k.store.DiscardDrop(ctx, d.ID))
	}
	return d, k.store.MarkOpened(ctx, d.ID)
}

func (k *catalogue) list(ctx context.Context, limit int, before int64) ([]persist.Drop, error) {
	drops, err := k.store.ListDrops(ctx, persist.ListQuery{Limit: limit, Before: before, Buyers: k.buyers})
	if errors.Is(err, persist.ErrUnavailable) {
		if page := k.recent.page(limit, before); page != nil {
			return page, nil
		}
	}
	if err != nil {
		return nil, err
	}
	k.recent.remember(drops)
	return drops, nil
}

func (k *catalogue) drop(ctx context.Context, id int64) (persist.Drop, error) {
	d, err := k.store.Drop(ctx, id, k.buyers)
	switch {
	case errors.Is(err, persist.ErrUnavailable):
		if known, ok := k.recent.drop(id); ok {
			return known, nil
		}
		return d, err
	case errors.Is(err, persist.ErrNotFound), err == nil && d.Opened.IsZero():
		return d, engine.ErrDropNotFound
	case err != nil:
		return d, err
	}
	k.recent.remember([]persist.Drop{d})
	return d, nil
}

// load reads the rows that a query asks for.
func (k *catalogue) load(ctx context.Context, q query) ([]persist.Drop, error) {
	if q.drop == 0 {
		return k.list(ctx, q.limit, q.before)
	}
	d, err := k.drop(ctx, q.drop)
	return []persist.Drop{d}, err
}
