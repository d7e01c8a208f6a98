package api

import (
	"context"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"

	"github.com/holdfast/holdfast/engine"
)

// errNoVerifier is the answer to a drop that nobody could reserve of.
var errNoVerifier = &complaint{"challenge", "needs a verifier, and none is configured"}

// reserveChallenged reserves once more, of a drop that had a unit but demands a
// challenge. So tokens, which are good for one use, are not spent on what is sold
// out, nor by a repeat with a key that has its hold already.
func (a *API) reserveChallenged(c *fiber.Ctx, ctx context.Context, b reserveBody, user int64, key string) (engine.Reservation, error) { //nolint:revive // fiber's Ctx is no context
	switch {
	case b.challenge == "":
		return engine.Reservation{}, engine.ErrChallengeRequired
	case a.cfg.Challenge == nil:
		a.log.Error("a drop demands a challenge and no verifier is configured", "drop", b.drop)
		return engine.Reservation{}, engine.ErrUnavailable
	}
	if err := a.cfg.Challenge.Verify(ctx, b.challenge, a.client(c)); err != nil {
		return engine.Reservation{}, err
	}
	return a.engine.Reserve(ctx, engine.ReserveRequest{Drop: b.drop, User: user, Size: b.size, Key: key, Passed: true})
}

func boolean(field string, v jsontext.Value) (bool, error) {
	yes := v.Kind() == 't'
	if !yes && v.Kind() != 'f' {
		return false, &complaint{field, "must be true or false"}
	}
	return yes, nil
}
