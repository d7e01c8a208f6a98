package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// callTimeout is how long a buyer waits for an answer: shorter than a server
// may try, so that some give up on what happens in the end.
const callTimeout = 3 * time.Second

// caller is the HTTP side of the buyers.
type caller struct {
	http *http.Client
}

func newCaller() *caller {
	return &caller{http: &http.Client{
		Timeout:   callTimeout,
		Transport: &http.Transport{MaxIdleConnsPerHost: 32, MaxConnsPerHost: 64, IdleConnTimeout: 30 * time.Second},
	}}
}

// answer is what one call came to; status 0: no answer.
type answer struct {
	status   int
	code     string // of an error
	replayed bool
	body     []byte
}

// call sends a body once. The transport may send again only what it can read
// again, which this is not.
func (c *caller) call(method, url string, body any, key string) answer {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	var send io.Reader = http.NoBody
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return answer{}
		}
		send = io.MultiReader(bytes.NewReader(raw))
	}
	req, err := http.NewRequestWithContext(ctx, method, url, send)
	if err != nil {
		return answer{}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	harness.AsAdmin(req.Header) // which calls of buyers do not look at
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}
	}
	defer func() { _ = res.Body.Close() }()
	a := answer{status: res.StatusCode, replayed: res.Header.Get("Idempotency-Replayed") == "true"}
	if a.body, err = io.ReadAll(res.Body); err != nil {
		return answer{} // cut off: nobody can tell what it would have said
	}
	if a.status >= 400 {
		var f struct{ Code string }
		if json.Unmarshal(a.body, &f) != nil || f.Code == "" {
			return answer{}
		}
		a.code = f.Code
	}
	return a
}

// refusal is the result of an answer that is no success: a code, or unknown
// where it does not say what happened. overloaded says that nothing has.
func (a answer) refusal() string {
	if a.status == 0 || a.code == "unavailable" {
		return unknown
	}
	return a.code
}

func (a answer) parse(into any) error {
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("%d %s: %w", a.status, a.body, err)
	}
	return nil
}
