package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/holdfast/holdfast/persist"
)

// What is read of an answer: its status counts, the rest is of no use.
const (
	maxAnswer        = 1 << 10
	maxAnswerHeaders = 16 << 10
)

// client is a receiver's own: it takes no proxy from the environment, follows no
// redirect, and connects only where the guard lets it.
func (s *Sender) client(r Receiver) *http.Client {
	dialer := &net.Dialer{
		Timeout: s.cfg.Timeout,
		Control: guard{allow: s.cfg.Allow, plain: r.Plain()}.control,
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.cfg.Roots},
			TLSHandshakeTimeout:    s.cfg.Timeout,
			ForceAttemptHTTP2:      true,
			MaxConnsPerHost:        s.cfg.Concurrency,
			MaxIdleConnsPerHost:    s.cfg.Concurrency,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: maxAnswerHeaders,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// refusal is an answer that is not 2xx.
type refusal struct {
	status int
	wait   time.Duration // that the receiver asked for; zero if it did not
}

func (r *refusal) Error() string {
	return strings.TrimSpace(fmt.Sprintf("answered %d %s", r.status, http.StatusText(r.status)))
}

// post makes one attempt. nil: the receiver has the event.
func (l *line) post(ctx context.Context, e persist.Event) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
	defer cancel()
	message, err := body(e)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.receiver.URL, bytes.NewReader(message))
	if err != nil {
		return err
	}
	now := time.Now()
	signatures := make([]string, len(l.signers))
	for i, signer := range l.signers {
		if signatures[i], err = signer.Sign(e.ID, now, message); err != nil {
			return err
		}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Holdfast")
	request.Header.Set(standardwebhooks.HeaderWebhookID, e.ID)
	request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	answer, err := l.client.Do(request)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // without the URL
		}
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer) // so that the connection can be used again
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		return &refusal{answer.StatusCode, time.Duration(max(0, min(seconds, 86400))) * time.Second}
	}
	return nil
}
