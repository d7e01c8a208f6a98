package fair

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// verifier is a real HTTP server that answers as handle does.
func verifier(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handle, ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return "http://" + l.Addr().String() + "/siteverify"
}

func challenge(t *testing.T, cfg ChallengeConfig) *Challenge {
	t.Helper()
	cfg.Secret, cfg.Log = "the secret", slog.New(slog.DiscardHandler)
	c, err := NewChallenge(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var visitor = netip.MustParseAddr("198.51.100.1")

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"passed":                {200, `{"success":true,"hostname":"x"}`, nil},
		"failed":                {200, `{"success":false,"error-codes":["timeout-or-duplicate"]}`, ErrChallengeFailed},
		"failed with a 400":     {400, `{"success":false,"error-codes":["invalid-input-response"]}`, ErrChallengeFailed},
		"our secret is wrong":   {200, `{"success":false,"error-codes":["invalid-input-secret"]}`, ErrVerifierDown},
		"its own fault":         {200, `{"success":false,"error-codes":["internal-error"]}`, ErrVerifierDown},
		"the token is no token": {400, `{"success":false,"error-codes":["bad-request"]}`, ErrChallengeFailed},
		"refused on the way":    {403, `<html>`, ErrChallengeFailed},
		"no verdict":            {200, `{}`, ErrVerifierDown},
		"no JSON":               {200, `<html>`, ErrVerifierDown},
		"a 502":                 {502, `bad gateway`, ErrVerifierDown},
		"a 500 with a verdict":  {500, `{"success":true}`, ErrVerifierDown},
		"a redirect elsewhere":  {302, ``, ErrVerifierDown},
		"more than is read":     {200, `{"success":true,"x":"` + string(make([]byte, maxVerdict)) + `"}`, ErrVerifierDown},
		"success that is no bo": {200, `{"success":"true"}`, ErrVerifierDown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := verifier(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.FormValue("secret") != "the secret" ||
					r.FormValue("response") != "a token&" || r.FormValue("remoteip") != visitor.String() {
					t.Errorf("asked %s %v", r.Method, r.Form)
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			if err := challenge(t, ChallengeConfig{URL: url}).Verify(t.Context(), "a token&", visitor); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestVerifierDown(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + l.Addr().String()
	_ = l.Close()
	release := make(chan struct{})
	hangs := verifier(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	for name, url := range map[string]string{"gone": gone, "hangs": hangs} {
		refuses := challenge(t, ChallengeConfig{URL: url, Timeout: 100 * time.Millisecond})
		if err := refuses.Verify(t.Context(), "t", visitor); !errors.Is(err, ErrVerifierDown) {
			t.Errorf("%s, refuse: %v", name, err)
		}
		admits := challenge(t, ChallengeConfig{URL: url, Timeout: 100 * time.Millisecond, AdmitWhenDown: true})
		if err := admits.Verify(t.Context(), "t", visitor); err != nil {
			t.Errorf("%s, admit: %v", name, err)
		}
	}
}

// A flood of tokens does not become "down", at which everybody may pass.
func TestVerifierIsAskedByAFewAtOnce(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	began, release := make(chan struct{}, 10), make(chan struct{})
	url := verifier(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		began <- struct{}{}
		<-release
		_, _ = io.WriteString(w, `{"success":true}`)
	})
	c := challenge(t, ChallengeConfig{URL: url, AtOnce: 2, AdmitWhenDown: true, Timeout: time.Minute})
	answers := make(chan error, 2)
	for range 2 {
		go func() { answers <- c.Verify(context.Background(), "t", visitor) }()
	}
	<-began
	<-began
	if err := c.Verify(t.Context(), "t", visitor); !errors.Is(err, ErrVerifierBusy) {
		t.Errorf("a third at once: %v", err)
	}
	close(release)
	for range 2 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if err := c.Verify(t.Context(), "t", visitor); err != nil || asked.Load() != 3 {
		t.Errorf("afterwards: %v, asked %d times", err, asked.Load())
	}
}
