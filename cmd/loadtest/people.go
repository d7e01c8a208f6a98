package loadtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/holdfast/holdfast/cmd/load"
)

// people are the ids of n buyers, who are the same in every load test.
func people(ctx context.Context, base string, n int) ([]int64, error) {
	call, err := load.NewCall("user", http.MethodPost, base, "/api/users")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ids := make([]int64, n)
	var next atomic.Int64
	const connections = 16
	_, err = load.Run(ctx, load.Config{
		URL: base, Workers: min(n, connections), Steps: int64(n), Timeout: callTimeout,
		Step: func(w *load.Worker) load.Outcome {
			i := next.Add(1) - 1
			a := w.Do(call, fmt.Appendf(nil, `{"username":"Load test %d","email":"loadtest-%d@example.com"}`, i+1, i+1))
			id, found := number(a.Body, nameID)
			if a.Kind != load.Won || !found {
				stop(fmt.Errorf("buyer %d cannot be added: %d %.200s %w", i+1, a.Status, a.Body, orNoError(a.Err)))
			}
			ids[i] = id
			return a.Outcome
		},
	})
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return ids, err
}

var errAnswered = errors.New("(an answer)")

// orNoError keeps %w from printing nil.
func orNoError(err error) error {
	if err == nil {
		return errAnswered
	}
	return err
}
