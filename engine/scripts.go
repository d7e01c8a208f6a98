package engine

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/holdfast/holdfast/lua"
)

// LoadScripts sees to it that every master that answers has the scripts: a
// server that was started anew has none, and gets each with its first call
// otherwise. It returns ErrUnavailable where one cannot be asked or takes none.
func (e *Engine) LoadScripts(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	return unavailable(eachMaster(ctx, e.redis, func(ctx context.Context, c redis.Cmdable) error {
		_, err := lua.Load(ctx, c)
		return err
	}))
}
