package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// bringKeys renames the keys of a deployment of before partitions had tags of
// their own, when they bore their bare numbers. Dying midway it goes on at the
// next start: the mark of the old deployment goes last. All its instances must
// have been stopped. It had one node.
func (e *Engine) bringKeys(ctx context.Context) error {
	mark := e.keys.prefix + ":{0}:meta"
	have, err := e.redis.HGet(ctx, mark, "partitions").Result()
	switch {
	case errors.Is(err, redis.Nil):
		return nil
	case err != nil:
		return unavailable(err)
	case have != strconv.Itoa(e.keys.partitions):
		return fmt.Errorf("%w: this Redis was started with %s partitions, not %d; the number is fixed for a deployment's life",
			ErrInvalid, have, e.keys.partitions)
	}
	e.log.Info("renaming the keys of an earlier version")
	for p := range e.keys.partitions {
		if err := e.bringPartition(ctx, p, mark); err != nil {
			return fmt.Errorf("rename the keys of partition %d: %w", p, unavailable(err))
		}
	}
	return unavailable(e.redis.Del(ctx, mark).Err())
}

func (e *Engine) bringPartition(ctx context.Context, p int, mark string) error {
	old := e.keys.prefix + ":{" + strconv.Itoa(p) + "}:"
	for cursor := uint64(0); ; {
		found, next, err := e.redis.Scan(ctx, cursor, old+"*", tallyPage).Result()
		if err != nil {
			return err
		}
		for _, key := range found {
			if key == mark {
				continue
			}
			err := e.redis.RenameNX(ctx, key, e.keys.base(p)+strings.TrimPrefix(key, old)).Err()
			if err != nil && !strings.Contains(err.Error(), "no such key") { // it has expired, or another start has renamed it
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
