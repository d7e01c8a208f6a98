package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// flushAll empties Redis while it serves.
func flushAll() fault {
	return act{"FLUSHALL", func(w *world) error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return w.everywhere(ctx, "flushall")
	}, nothing}
}

// redisEmptied kills Redis and starts it without its files.
func redisEmptied() fault {
	var dir string
	return act{"Redis killed, its files lost",
		func(w *world) (err error) {
			if dir, err = w.appendOnly(); err != nil {
				return err
			}
			w.own.KillRedis()
			return os.RemoveAll(dir)
		},
		always(func(w *world) { w.own.StartRedis() })}
}

// appendOnly is the folder of Redis's append-only files.
func (w *world) appendOnly() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var at [2]string
	for i, name := range []string{"dir", "appenddirname"} {
		got, err := w.redis.ConfigGet(ctx, name).Result()
		if err != nil {
			return "", err
		}
		at[i] = got[name]
	}
	dir := filepath.Join(at[0], at[1])
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("the files of Redis are not on this machine: %w", err)
	}
	return dir, nil
}

// powerLost is what a loss of power does to a Redis that syncs every second:
// the machine forgets what was written and not synced. Killing the process
// alone would not lose that, since the kernel keeps it; so the file is cut to
// what it was a second before.
type powerLost struct{}

func (powerLost) String() string { return "power lost" }

func (powerLost) inject(w *world) error {
	dir, err := w.appendOnly()
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.incr.aof"))
	if err != nil || len(files) == 0 {
		return errors.Join(err, errors.New("there is no append-only file"))
	}
	file := files[len(files)-1]
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	time.Sleep(time.Second)
	w.own.KillRedis()
	return os.Truncate(file, info.Size())
}

func (powerLost) heal(w *world) error {
	w.own.StartRedis()
	return nil
}
