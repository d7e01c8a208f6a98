package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// AuditResult is what an audit of the whole deployment found. Redis keeps the
// last one, so that every instance can tell of it.
type AuditResult struct {
	At    time.Time     `json:"at"` // when it ended
	Took  time.Duration `json:"took_ns"`
	Drift int           `json:"drift"` // differences
}

// TakeAudit gives one caller of all instances the turn to audit, and nobody
// another one before lease has passed, or as RestAudit says.
func (e *Engine) TakeAudit(ctx context.Context, lease time.Duration) (mine bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	err = e.redis.SetArgs(ctx, e.keys.auditTurn(), "1", redis.SetArgs{Mode: "NX", TTL: lease}).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil, unavailable(err)
}

// RestAudit says when the next turn comes. It is called by the one whose turn it was.
func (e *Engine) RestAudit(ctx context.Context, rest time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	return unavailable(e.redis.Set(ctx, e.keys.auditTurn(), "1", rest).Err())
}

// KeepAudit keeps what the one whose turn it was has found.
func (e *Engine) KeepAudit(ctx context.Context, r AuditResult) error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return unavailable(e.redis.Set(ctx, e.keys.audit(), text, 0).Err())
}

// LastAudit is what was found last; known is false where nothing was yet.
func (e *Engine) LastAudit(ctx context.Context) (r AuditResult, known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	text, err := e.redis.Get(ctx, e.keys.audit()).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return r, false, nil
	case err != nil:
		return r, false, unavailable(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, false, fmt.Errorf("%w: %s: %w", ErrCorrupt, e.keys.audit(), err)
	}
	return r, true, nil
}
