package engine

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// use is a command that the engine, or one of its scripts, sends; the key is
// put in place of each KEY. As it stands here it does no harm, on keys of the
// checks' own; the order matters, since each begins with what it makes.
type use struct {
	kind string // of the key that it is tried on; "" for none
	args []any
}

type placeholder struct{}

// key stands for the key in a use.
var key placeholder

var uses = []use{
	{"", []any{"PING"}},
	{"", []any{"INFO", "server"}},
	{"", []any{"TIME"}},
	{"", []any{"CONFIG", "GET", "appendfsync"}},
	{"", []any{"SCRIPT", "EXISTS", strings.Repeat("0", 40)}},
	{"", []any{"SCRIPT", "LOAD", "return 1"}},
	{"string", []any{"SET", key, "1", "PX", 1000}},
	{"string", []any{"GET", key}},
	{"string", []any{"MGET", key}},
	{"string", []any{"EXISTS", key}},
	{"string", []any{"PTTL", key}},
	{"string", []any{"PEXPIRE", key, 1000}},
	{"string", []any{"EXPIRE", key, 1, "NX"}},
	{"hash", []any{"HSET", key, "f", 1}},
	{"hash", []any{"HGET", key, "f"}},
	{"hash", []any{"HMGET", key, "f"}},
	{"hash", []any{"HGETALL", key}},
	{"hash", []any{"HEXISTS", key, "f"}},
	{"hash", []any{"HSCAN", key, 0}},
	{"hash", []any{"HINCRBY", key, "f", 1}},
	{"hash", []any{"HDEL", key, "f"}},
	{"zset", []any{"ZADD", key, 1, "m"}},
	{"zset", []any{"ZCARD", key}},
	{"zset", []any{"ZSCORE", key, "m"}},
	{"zset", []any{"ZMSCORE", key, "m"}},
	{"zset", []any{"ZRANGE", key, 0, 0}},
	{"zset", []any{"ZRANGEBYSCORE", key, 0, 1}},
	{"zset", []any{"ZSCAN", key, 0}},
	{"zset", []any{"ZREMRANGEBYRANK", key, 1, 1}},
	{"zset", []any{"ZREMRANGEBYSCORE", key, 2, 3}},
	{"zset", []any{"ZREM", key, "m"}},
	{"stream", []any{"XGROUP", "CREATE", key, "g", "0", "MKSTREAM"}},
	{"stream", []any{"XADD", key, "1-1", "f", "v"}},
	{"stream", []any{"XLEN", key}},
	{"stream", []any{"XRANGE", key, "-", "+", "COUNT", 1}},
	{"stream", []any{"XREVRANGE", key, "+", "-", "COUNT", 1}},
	{"stream", []any{"XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", key, ">"}},
	{"stream", []any{"XAUTOCLAIM", key, "g", "c", 1000, "0-0", "COUNT", 1}},
	{"stream", []any{"XACK", key, "g", "1-1"}},
	{"stream", []any{"XDEL", key, "1-1"}},
	{"string", []any{"EVAL", "#!lua\nreturn redis.call('EXISTS', KEYS[1])", 1, key}},
	{"string", []any{"EVALSHA", strings.Repeat("0", 40), 1, key}}, // not known: refused otherwise than by rights
}

// Commands are the names of all commands that a Redis user of Holdfast needs, in
// small letters, as an ACL has them.
func Commands() []string {
	names := make([]string, 0, len(uses)+4)
	names = append(names, "del", "publish", "subscribe", "psubscribe")
	for _, u := range uses {
		name, _ := u.args[0].(string)
		if sub, ok := u.args[1:], name == "CONFIG" || name == "SCRIPT" || name == "XGROUP"; ok {
			second, _ := sub[0].(string)
			name += "|" + second
		}
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// MissingRights tries each command that the engine uses, on every partition's
// server with keys of its own, and names those that Redis's user may not send, or
// not on these keys or channels. It returns
// ErrUnavailable when Redis does not answer.
func (e *Engine) MissingRights(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout*4)
	defer cancel()
	var missing []string
	add := func(name string, err error) {
		text := strings.ToLower(name)
		switch _, what, _ := strings.Cut(err.Error(), " access "); {
		case strings.Contains(what, "key"):
			text += " on keys " + e.keys.prefix + ":*"
		case strings.Contains(what, "channel"):
			text += " on channels " + e.keys.prefix + ":*"
		}
		if !slices.Contains(missing, text) {
			missing = append(missing, text)
		}
	}
	for p := range e.keys.partitions {
		if err := e.tryCommands(ctx, p, add); err != nil {
			return nil, unavailable(err)
		}
	}
	for _, try := range []struct {
		name string
		sub  func() *redis.PubSub
	}{
		{"SUBSCRIBE", func() *redis.PubSub { return e.redis.Subscribe(ctx, e.keys.events(0)) }},
		{"PSUBSCRIBE to " + expiredPattern, func() *redis.PubSub { return e.redis.PSubscribe(ctx, expiredPattern) }},
	} {
		sub := try.sub()
		_, err := sub.ReceiveTimeout(ctx, e.cfg.CallTimeout)
		_ = sub.Close() // nothing is received any more
		switch {
		case denied(err):
			add(try.name, err)
		case err != nil:
			return nil, unavailable(err)
		}
	}
	return missing, nil
}

// tryCommands tries each command on keys beside those of the partition. What it
// makes it must be able to delete, so that is tried first.
func (e *Engine) tryCommands(ctx context.Context, partition int, add func(name string, err error)) error {
	base := e.keys.base(partition) + "doctor:"
	kinds := []string{base + "string", base + "hash", base + "zset", base + "stream"}
	if err := e.redis.Del(ctx, kinds...).Err(); err != nil {
		if denied(err) {
			add("DEL", err)
			return nil
		}
		return err
	}
	cmds := make([]redis.Cmder, 0, len(uses)+1)
	pipe := e.redis.Pipeline()
	for _, u := range uses {
		args := slices.Clone(u.args)
		at := 0
		for i, arg := range args {
			if arg == any(key) {
				args[i], at = base+u.kind, i
			}
		}
		cmd := redis.NewCmd(ctx, args...)
		cmd.SetFirstKeyPos(int8(at)) // for a cluster, which is not asked where each command has its key
		_ = pipe.Process(ctx, cmd)   // only puts it in
		cmds = append(cmds, cmd)
	}
	cmds = append(cmds, pipe.Publish(ctx, base, ""))
	_, _ = pipe.Exec(ctx) // each has its own error
	if err := e.redis.Del(ctx, kinds...).Err(); err != nil {
		return err
	}
	for i, cmd := range cmds {
		err := cmd.Err()
		var said redis.Error
		switch {
		case denied(err):
			name := strings.ToUpper(cmd.Name())
			if i < len(uses) && (name == "CONFIG" || name == "SCRIPT" || name == "XGROUP") {
				name += "|" + uses[i].args[1].(string) //nolint:forcetypeassert // written so above
			}
			add(name, err)
		case err != nil && !errors.As(err, &said):
			return err // no answer at all
		}
	}
	return nil
}

// denied tells whether Redis refused for want of a right.
func denied(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "NOPERM") }
