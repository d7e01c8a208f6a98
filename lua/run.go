package lua

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts so
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// script is a script of this package.
type script struct{ source, sha string }

func newScript(source string) script {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // Redis names scripts so
	return script{source, hex.EncodeToString(sum[:])}
}

// How long Run goes on repeating what the server has refused to begin: 0.6 s
// in all, which is what a slot or a client takes to settle after a change, and
// leaves a caller's deadline room. A fail-over takes longer; the caller may then
// come again.
const (
	firstPause = 10 * time.Millisecond
	pauses     = 6 // each twice as long as the one before
)

// Run runs the script on the server that has the keys, with EVALSHA and, where
// that server does not know the script, EVAL. It sends it again only where it
// is certain that nothing has happened.
//
// On a cluster it sends to the master of the keys' slot alone, by itself:
// ClusterClient would send again after a lost reply, and it would follow ASK.
// ASK leads to a server that a slot is still on its way to. There, keys that are not
// in KEYS read as absent while the other server has them: a live hold would
// pass for a lapsed one. So a partition on its way waits until it has arrived.
func (s script) Run(ctx context.Context, c redis.Scripter, keys []string, args ...any) *redis.Cmd {
	pause := firstPause
	for try := 0; ; try++ {
		cmd := s.try(ctx, c, keys, args)
		if cmd.Err() == nil || try == pauses || !refused(cmd.Err()) || !sleep(ctx, pause) {
			return cmd
		}
		pause *= 2
	}
}

// processor sends a command; any client.
type processor interface {
	Process(ctx context.Context, cmd redis.Cmder) error
}

func (s script) try(ctx context.Context, c redis.Scripter, keys []string, args []any) *redis.Cmd {
	var server processor
	cluster, ok := c.(*redis.ClusterClient)
	if ok {
		master, err := cluster.MasterForKey(ctx, keys[0])
		if err != nil {
			return failed(ctx, err)
		}
		server = master
	} else if server, ok = c.(processor); !ok {
		return failed(ctx, errors.New("the scripts need a Redis client"))
	}
	cmd := send(ctx, server, "evalsha", s.sha, keys, args)
	if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		cmd = send(ctx, server, "eval", s.source, keys, args)
	}
	if cluster != nil && moves(cmd.Err()) {
		cluster.ReloadState(ctx)
	}
	return cmd
}

func failed(ctx context.Context, err error) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(err)
	return cmd
}

// once is a command that no client sends again by itself.
type once struct{ *redis.Cmd }

// NoRetry is asked by go-redis before it sends again.
func (once) NoRetry() bool { return true }

func send(ctx context.Context, server processor, name, script string, keys []string, args []any) *redis.Cmd {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, name, script, len(keys))
	for _, k := range keys {
		all = append(all, k)
	}
	cmd := redis.NewCmd(ctx, append(all, args...)...)
	cmd.SetFirstKeyPos(3)
	if err := server.Process(ctx, once{cmd}); err != nil && cmd.Err() == nil {
		cmd.SetErr(err) // not from the server
	}
	return cmd
}

// refused says whether a server has answered that it did not begin the script.
// It is certain since each script begins with #!lua, which has these conditions
// looked at before its first line, and names its keys.
func refused(err error) bool {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return false
	}
	text := answer.Error()
	if strings.Contains(text, "@user_script") { // from a line of the script
		return false
	}
	for _, code := range []string{
		"TRYAGAIN ", "ASK ", // the slot is on its way to another master
		"MOVED ", "CLUSTERDOWN ", // it has another master, or none yet
		"READONLY ", "MASTERDOWN ", // this was a primary: the client drops the connection and asks who is now
		"NOREPLICAS ", // a primary that has just been promoted
		"LOADING ",    // one that has just been started
	} {
		if strings.HasPrefix(text, code) {
			return true
		}
	}
	return false
}

// NotBegun says whether it is certain of a call that failed that its script did not
// begin: a server refused to, or there was no connection to one.
func NotBegun(err error) bool {
	var op *net.OpError
	return refused(err) || errors.Is(err, redis.ErrPoolTimeout) || errors.As(err, &op) && op.Op == "dial"
}

// moves says whether err suggests that a slot's master is another by now: it
// said so, or did not answer.
func moves(err error) bool {
	if err == nil {
		return false
	}
	var answer redis.Error
	return !errors.As(err, &answer) || refused(err)
}

func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false // the caller gets the server's answer rather than none
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
