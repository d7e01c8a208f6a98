package fair

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// What a Challenge answers. Test with errors.Is.
var (
	// ErrChallengeFailed: the verifier does not accept the token.
	ErrChallengeFailed = errors.New("challenge failed")
	// ErrVerifierDown: the verifier gave no verdict, and who has none is refused.
	ErrVerifierDown = errors.New("challenge verifier down")
	// ErrVerifierBusy: as many tokens as may are with the verifier.
	ErrVerifierBusy = errors.New("too many challenges at once")
)

// MaxToken is how long a challenge's token may be, in bytes.
const MaxToken = 2048

// ChallengeConfig says who verifies tokens.
type ChallengeConfig struct {
	// URL of the verifier, which is sent the form secret, response and
	// remoteip, and answers {"success": …} (siteverify, as Turnstile, hCaptcha
	// and reCAPTCHA have it). Required.
	URL string
	// Secret that the verifier knows this site by. Required.
	Secret string
	// AdmitWhenDown lets everybody with a token pass while the verifier gives no
	// verdict. Defaults to false: nobody.
	AdmitWhenDown bool
	// Timeout of one question. Defaults to 3 s.
	Timeout time.Duration
	// AtOnce is how many questions may be under way; who comes then is refused,
	// whatever AdmitWhenDown says. Defaults to 64.
	AtOnce int
	// Log gets what an operator should know. Defaults to slog.Default().
	Log *slog.Logger
	// Metrics registers the verdicts. Defaults to none.
	Metrics prometheus.Registerer
}

// Challenge has tokens verified.
type Challenge struct {
	cfg      ChallengeConfig
	http     *http.Client
	asking   chan struct{}
	verdicts map[string]prometheus.Counter
}

// NewChallenge makes a Challenge; Close must be called.
func NewChallenge(cfg ChallengeConfig) (*Challenge, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("the verifier's URL must be https://host/path")
	}
	if cfg.Secret == "" {
		return nil, errors.New("the verifier's secret is empty")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 3 * time.Second
	}
	if cfg.AtOnce <= 0 {
		cfg.AtOnce = 64
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	c := &Challenge{
		cfg: cfg, asking: make(chan struct{}, cfg.AtOnce), verdicts: map[string]prometheus.Counter{},
		http: &http.Client{
			Timeout: cfg.Timeout,
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: cfg.AtOnce, MaxConnsPerHost: cfg.AtOnce,
				IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
			},
			// The secret goes to the URL configured alone.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	verdicts := promauto.With(cfg.Metrics).NewCounterVec(prometheus.CounterOpts{
		Name: "holdfast_challenges_total", Help: "Challenge tokens by what came of them.",
	}, []string{"verdict"})
	for _, v := range []string{"passed", "failed", "down", "busy"} {
		c.verdicts[v] = verdicts.WithLabelValues(v)
	}
	return c, nil
}

// Close lets go of the connections to the verifier.
func (c *Challenge) Close() { c.http.CloseIdleConnections() }

// Verify is nil if the token may pass: ErrChallengeFailed, ErrVerifierDown,
// ErrVerifierBusy. It counts as used up afterwards, whatever comes of it.
func (c *Challenge) Verify(ctx context.Context, token string, from netip.Addr) error {
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	default:
		c.verdicts["busy"].Inc()
		return ErrVerifierBusy
	}
	good, err := c.ask(ctx, token, from)
	switch {
	case err != nil && c.cfg.AdmitWhenDown:
		c.verdicts["down"].Inc()
		c.cfg.Log.Warn("the challenge verifier gives no verdict; the caller is let pass", "err", err)
		return nil
	case err != nil:
		c.verdicts["down"].Inc()
		c.cfg.Log.Warn("the challenge verifier gives no verdict; the caller is refused", "err", err)
		return ErrVerifierDown
	case !good:
		c.verdicts["failed"].Inc()
		return ErrChallengeFailed
	}
	c.verdicts["passed"].Inc()
	return nil
}

// maxVerdict is how much of the verifier's answer is read, in bytes.
const maxVerdict = 16 << 10

// notOfTheToken are the error codes that speak of the question, not of the token.
var notOfTheToken = []string{"missing-input-secret", "invalid-input-secret", "internal-error"}

// ask is the verifier's verdict. An error says that there is none; it has
// nothing of the token or the secret.
func (c *Challenge) ask(ctx context.Context, token string, from netip.Addr) (bool, error) {
	form := url.Values{"secret": {c.cfg.Secret}, "response": {token}}
	if from.IsValid() {
		form.Set("remoteip", from.String())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := c.http.Do(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxVerdict))
	if err != nil {
		return false, err
	}
	var verdict struct {
		Success *bool    `json:"success"`
		Errors  []string `json:"error-codes"`
	}
	if refused := res.StatusCode >= 400 && res.StatusCode < 500; refused && !json.Valid(body) {
		return false, nil // what stands before the verifier took offence at the token
	}
	if err := json.Unmarshal(body, &verdict); err != nil || verdict.Success == nil || res.StatusCode >= 500 {
		return false, fmt.Errorf("status %d without a verdict", res.StatusCode)
	}
	for _, code := range verdict.Errors {
		if !*verdict.Success && slices.Contains(notOfTheToken, code) {
			return false, fmt.Errorf("status %d, %s", res.StatusCode, code)
		}
	}
	return *verdict.Success, nil
}
