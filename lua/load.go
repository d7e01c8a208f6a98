package lua

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// all are the scripts of this package.
func all() []script {
	return []script{
		open, reserve, settle, release, lookup, dead, epoch, claim, admit, restore, level, forget, unclaim, confirm, done, change, allow,
	}
}

// Load loads the scripts that the server does not have, so that no call has to
// bring its script along, and says how many those were.
func Load(ctx context.Context, server redis.Cmdable) (loaded int, err error) {
	scripts := all()
	names := make([]string, len(scripts))
	for i, s := range scripts {
		names[i] = s.sha
	}
	there, err := server.ScriptExists(ctx, names...).Result()
	if err != nil {
		return 0, err
	}
	for i, s := range scripts {
		if i < len(there) && there[i] {
			continue
		}
		if err := server.ScriptLoad(ctx, s.source).Err(); err != nil {
			return loaded, err
		}
		loaded++
	}
	return loaded, nil
}
