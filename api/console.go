package api

import (
	"context"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/holdfast/holdfast/engine"
)

// What the console shows beside the live feed. Figures of the deployment are
// read from Redis; refusals leave no trace there, so they are those of this
// instance, as are the connected clients.

type figuresBody struct {
	ServerTime   stamp            `json:"server_time"`
	Drop         figuresDrop      `json:"drop"`
	Reservations int64            `json:"reservations"`
	Refusals     map[string]int64 `json:"refusals"`
	Ledger       ledgerBody       `json:"ledger"`
	RestoreLagMS *int64           `json:"restore_lag_ms"`
	Overdue      int              `json:"overdue"`
	Sockets      socketsBody      `json:"sockets"`
}

type figuresDrop struct {
	ID             int64        `json:"id"`
	State          engine.State `json:"state"`
	TotalStock     int64        `json:"total_stock"`
	AvailableStock int64        `json:"available_stock"`
	Held           int64        `json:"held"`
	Sold           int64        `json:"sold"`
	Version        int64        `json:"version"`
}

type ledgerBody struct {
	Entries    int64   `json:"entries"`
	LagSeconds float64 `json:"lag_seconds"`
}

type socketsBody struct {
	WebSocket int64 `json:"websocket"`
	SocketIO  int64 `json:"socketio"`
}

func (a *API) figures(c *fiber.Ctx) error {
	drop, err := queryInteger(c, "drop", engine.MaxDropID, 0)
	if err != nil {
		return err
	}
	if drop == 0 {
		return &complaint{"drop", "is required"}
	}
	ctx := a.context(c)
	now, s, err := a.liveStock(ctx, drop)
	if err != nil {
		return err
	}
	b := figuresBody{
		ServerTime: stamp(now), Reservations: s.LastSeq, Refusals: map[string]int64{},
		Drop: figuresDrop{s.Drop, s.State, s.Total, s.Available, s.Held, s.Sold, s.Version},
	}
	for reason, n := range a.engine.Refusals(drop) {
		b.Refusals[failureOf(reason).code] += n // each refusal is in the table
	}
	ledger, err := a.engine.LedgerInfo(ctx)
	if err != nil {
		return err
	}
	b.Ledger.Entries = ledger.Length
	if !ledger.Oldest.IsZero() {
		b.Ledger.LagSeconds = max(0, now.Sub(ledger.Oldest).Seconds())
	}
	if b.Overdue, err = a.engine.Overdue(ctx, drop); err != nil {
		return err
	}
	f := a.hub.Figures(drop)
	b.Sockets = socketsBody{f.WebSocket, f.SocketIO}
	if f.Released {
		ms := f.Late.Milliseconds()
		b.RestoreLagMS = &ms
	}
	return c.JSON(b)
}

// liveStock is the drop's stock, and when that is by Redis's clock.
func (a *API) liveStock(ctx context.Context, drop int64) (time.Time, *engine.Stock, error) {
	now, err := a.engine.Now(ctx)
	if err != nil {
		return now, nil, err
	}
	stock, err := a.engine.Stock(ctx, []int64{drop})
	if err != nil {
		return now, nil, err
	}
	if stock[0] == nil {
		return now, nil, engine.ErrDropNotFound
	}
	return now, stock[0], nil
}

type holdsBody struct {
	ServerTime stamp      `json:"server_time"`
	Total      int64      `json:"total"`
	Holds      []holdBody `json:"holds"`
}

type holdBody struct {
	ID        int64         `json:"id"`
	UserID    int64         `json:"UserId"`
	User      *holdUserBody `json:"User"`
	Size      *string       `json:"size"`
	CreatedAt stamp         `json:"created_at"`
	ExpiresAt stamp         `json:"expires_at"`
}

type holdUserBody struct {
	Username string `json:"username"`
}

func (a *API) listHolds(c *fiber.Ctx) error {
	drop, err := pathID(c, engine.MaxDropID, engine.ErrDropNotFound)
	if err != nil {
		return err
	}
	limit, err := queryInteger(c, "limit", maxPage, defaultPage)
	if err != nil {
		return err
	}
	ctx := a.context(c)
	now, s, err := a.liveStock(ctx, drop)
	if err != nil {
		return err
	}
	holds, err := a.engine.Holds(ctx, drop, int(limit))
	if err != nil {
		return err
	}
	ids := make([]int64, len(holds))
	for i, r := range holds {
		ids[i] = r.User
	}
	people, err := a.users.Several(ctx, ids)
	if err != nil { // the holds are worth showing without their names
		a.log.Warn("names of people who hold units are missing", "err", err)
	}
	b := holdsBody{ServerTime: stamp(now), Total: s.Held, Holds: make([]holdBody, len(holds))}
	for i, r := range holds {
		b.Holds[i] = holdBody{
			ID: r.ID, UserID: r.User, Size: orNil(r.Size), CreatedAt: stamp(r.Created), ExpiresAt: stamp(r.Deadline),
		}
		if u, ok := people[r.User]; ok {
			b.Holds[i].User = &holdUserBody{u.Username}
		}
	}
	return c.JSON(b)
}
