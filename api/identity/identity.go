// Package identity tells who calls by the JSON Web Token that he brings.
package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// MinSecret is the fewest bytes of a secret for HS256: as many as its hash has.
const MinSecret = 32

// maxSubject is the most bytes of a token's iss and sub, each.
const maxSubject = 255

// leeway is by how much the clock of who issues tokens may differ from ours.
const leeway = 5 * time.Second

// What may be wrong with a token.
var (
	ErrInvalid = errors.New("token is not valid")
	ErrExpired = errors.New("token has expired")
	// ErrUnavailable: no key set has been read yet, so nothing can be said.
	ErrUnavailable = errors.New("keys of tokens are not available")
)

// Config says which tokens are believed.
type Config struct {
	// Secret checks tokens signed with HS256; at least MinSecret bytes. Defaults
	// to none: such tokens are refused.
	Secret []byte
	// JWKS is the file or the http(s) address of the key set that checks tokens
	// signed with RS256, ES256 or EdDSA. Defaults to none: such tokens are refused.
	JWKS string
	// Issuer is what a token's iss must be. Defaults to anything.
	Issuer string
	// Audience is what a token's aud must contain. Defaults to anything.
	Audience string
	// Refresh is how often the key set is read again. Defaults to 10 minutes.
	Refresh time.Duration
	// Retry is how long after a reading a token that names a key that is not in
	// the set, or a reading that failed, may have it read again. Defaults to 10 s.
	Retry time.Duration
	// Log gets failures to read the key set. Defaults to slog.Default().
	Log *slog.Logger
}

// Person is what a token says of who brings it.
type Person struct {
	Issuer  string // empty where the token has none
	Subject string // 1 to 255 bytes of text
	Name    string // preferred_username: as the issuer's person wants to be shown; often empty
}

// Verifier checks tokens. Its methods may be called at once from anywhere.
type Verifier struct {
	secret []byte
	keys   *keySet // nil without JWKS
	parser *jwt.Parser
}

// New makes a Verifier. A key set in a file is read at once. One at an address
// is tried, and read later if there is no answer.
func New(ctx context.Context, cfg Config) (*Verifier, error) {
	if len(cfg.Secret) == 0 && cfg.JWKS == "" {
		return nil, errors.New("identity: Secret or JWKS is required")
	}
	if n := len(cfg.Secret); n > 0 && n < MinSecret {
		return nil, fmt.Errorf("identity: the secret has %d bytes, fewer than %d", n, MinSecret)
	}
	if cfg.Refresh <= 0 {
		cfg.Refresh = 10 * time.Minute
	}
	if cfg.Retry <= 0 {
		cfg.Retry = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	v := &Verifier{secret: cfg.Secret}
	// The algorithms are ours to choose, never the token's: "none" is in no list.
	var algorithms []string
	if len(cfg.Secret) > 0 {
		algorithms = append(algorithms, hs256)
	}
	if cfg.JWKS != "" {
		algorithms = append(algorithms, rs256, es256, edDSA)
		var err error
		if v.keys, err = openKeySet(ctx, cfg); err != nil {
			return nil, err
		}
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(algorithms), jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding(),
	}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	v.parser = jwt.NewParser(options...)
	return v, nil
}

// Run keeps the key set new until ctx ends.
func (v *Verifier) Run(ctx context.Context) {
	if v.keys != nil {
		v.keys.run(ctx)
	}
}

type claims struct {
	jwt.RegisteredClaims
	PreferredUsername string `json:"preferred_username"`
}

// Verify checks a token: that it is signed by a known key with an algorithm
// that is allowed for this key, that it has not expired, and that issuer and
// audience are those of the Config. Returns ErrInvalid, ErrExpired or ErrUnavailable,
// whose texts have no part of the token.
func (v *Verifier) Verify(ctx context.Context, token string) (Person, error) {
	if strings.ContainsAny(token, "\r\n") {
		return Person{}, ErrInvalid // base64's decoder reads over them, RFC 7515 has none
	}
	var c claims
	_, err := v.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) { return v.key(ctx, t) })
	switch {
	case err == nil:
	case errors.Is(err, ErrUnavailable):
		return Person{}, ErrUnavailable
	case errors.Is(err, jwt.ErrTokenExpired):
		return Person{}, ErrExpired
	default:
		return Person{}, ErrInvalid
	}
	if !isName(c.Subject) || c.Issuer != "" && !isName(c.Issuer) {
		return Person{}, ErrInvalid
	}
	return Person{Issuer: c.Issuer, Subject: c.Subject, Name: c.PreferredUsername}, nil
}

// key is what checks the token's signature.
func (v *Verifier) key(ctx context.Context, t *jwt.Token) (any, error) {
	if _, extended := t.Header["crit"]; extended {
		return nil, ErrInvalid // it asks for rules that are not known here
	}
	alg := t.Method.Alg()
	if alg == hs256 {
		return v.secret, nil
	}
	kid, named := t.Header["kid"]
	id, isText := kid.(string)
	if named && !isText {
		return nil, ErrInvalid
	}
	return v.keys.find(ctx, alg, id)
}

// isName says whether s is text that can be kept.
func isName(s string) bool {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	return s != "" && len(s) <= maxSubject && utf8.ValidString(s) && !strings.ContainsFunc(s, control)
}
