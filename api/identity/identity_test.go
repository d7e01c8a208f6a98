package identity_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast/holdfast/api/identity"
	"github.com/holdfast/holdfast/test/harness"
)

const secret = "a-secret-of-these-tests-32-bytes"

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func claims(changes ...any) jwt.MapClaims {
	c := jwt.MapClaims{"sub": "42", "iss": "issuer", "aud": []string{"other", "holdfast"}, "exp": time.Now().Add(time.Hour).Unix()}
	for i := 0; i < len(changes); i += 2 {
		if name := changes[i].(string); changes[i+1] == nil {
			delete(c, name)
		} else {
			c[name] = changes[i+1]
		}
	}
	return c
}

func sign(tb testing.TB, method jwt.SigningMethod, key any, c jwt.MapClaims, header ...string) string {
	tb.Helper()
	token := jwt.NewWithClaims(method, c)
	for i := 0; i < len(header); i += 2 {
		token.Header[header[i]] = header[i+1]
	}
	text, err := token.SignedString(key)
	must(tb, err)
	return text
}

func verifier(tb testing.TB, cfg identity.Config) *identity.Verifier {
	tb.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	v, err := identity.New(tb.Context(), cfg)
	must(tb, err)
	return v
}

// keys are one of each kind.
type keys struct {
	rsa    *rsa.PrivateKey
	small  *rsa.PrivateKey // too small to be believed
	ecdsa  *ecdsa.PrivateKey
	p384   *ecdsa.PrivateKey // of a curve that is not taken
	ed     ed25519.PrivateKey
	shared []byte
}

func newKeys(tb testing.TB) (k keys) {
	tb.Helper()
	var err error
	k.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(tb, err)
	k.small, err = rsa.GenerateKey(rand.Reader, 1024)
	must(tb, err)
	k.ecdsa, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(tb, err)
	k.p384, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(tb, err)
	_, k.ed, err = ed25519.GenerateKey(rand.Reader)
	must(tb, err)
	k.shared = []byte("a-shared-secret-that-is-in-a-key-set")
	return k
}

// set is a JSON Web Key Set of public keys, by their ids.
func set(tb testing.TB, public map[string]any) []byte {
	tb.Helper()
	var all jwkset.JWKSMarshal
	for id, key := range public {
		options := jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: id}, Validate: jwkset.JWKValidateOptions{SkipAll: true}}
		if _, ok := key.([]byte); ok {
			options.Marshal.Private = true
		}
		jwk, err := jwkset.NewJWKFromKey(key, options)
		must(tb, err)
		all.Keys = append(all.Keys, jwk.Marshal())
	}
	raw, err := json.Marshal(all)
	must(tb, err)
	return raw
}

func (k keys) set(tb testing.TB) []byte {
	tb.Helper()
	return set(tb, map[string]any{
		"rsa": k.rsa.Public(), "small": k.small.Public(), "ecdsa": k.ecdsa.Public(), "p384": k.p384.Public(), "ed": k.ed.Public(),
		"shared": k.shared,
	})
}

func file(tb testing.TB, content []byte) string {
	tb.Helper()
	name := filepath.Join(tb.TempDir(), "jwks.json")
	must(tb, os.WriteFile(name, content, 0o600))
	return name
}

func TestVerify(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	both := verifier(t, identity.Config{Secret: []byte(secret), JWKS: file(t, k.set(t)), Issuer: "issuer", Audience: "holdfast"})
	keysAlone := verifier(t, identity.Config{JWKS: file(t, k.set(t)), Issuer: "issuer", Audience: "holdfast"})
	secretAlone := verifier(t, identity.Config{Secret: []byte(secret), Issuer: "issuer", Audience: "holdfast"})
	hs := func(c jwt.MapClaims, header ...string) string {
		return sign(t, jwt.SigningMethodHS256, []byte(secret), c, header...)
	}
	now := time.Now()
	for name, c := range map[string]struct {
		by    *identity.Verifier
		token string
		want  error
	}{
		"HS256":                   {both, hs(claims()), nil},
		"HS256 alone":             {secretAlone, hs(claims()), nil},
		"RS256":                   {both, sign(t, jwt.SigningMethodRS256, k.rsa, claims(), "kid", "rsa"), nil},
		"ES256":                   {both, sign(t, jwt.SigningMethodES256, k.ecdsa, claims(), "kid", "ecdsa"), nil},
		"EdDSA":                   {both, sign(t, jwt.SigningMethodEdDSA, k.ed, claims(), "kid", "ed"), nil},
		"the only key of a kind":  {keysAlone, sign(t, jwt.SigningMethodES256, k.ecdsa, claims()), nil},
		"an audience as text":     {both, hs(claims("aud", "holdfast")), nil},
		"just expired":            {both, hs(claims("exp", now.Add(-time.Second).Unix())), nil}, // within the leeway
		"expired":                 {both, hs(claims("exp", now.Add(-10*time.Second).Unix())), identity.ErrExpired},
		"no expiry":               {both, hs(claims("exp", nil)), identity.ErrInvalid},
		"not yet valid":           {both, hs(claims("nbf", now.Add(time.Minute).Unix())), identity.ErrInvalid},
		"another issuer":          {both, hs(claims("iss", "somebody")), identity.ErrInvalid},
		"no issuer":               {both, hs(claims("iss", nil)), identity.ErrInvalid},
		"another audience":        {both, hs(claims("aud", "other")), identity.ErrInvalid},
		"no audience":             {both, hs(claims("aud", nil)), identity.ErrInvalid},
		"no subject":              {both, hs(claims("sub", nil)), identity.ErrInvalid},
		"an empty subject":        {both, hs(claims("sub", "")), identity.ErrInvalid},
		"a subject that is none":  {both, hs(claims("sub", 42)), identity.ErrInvalid},
		"a subject with NUL":      {both, hs(claims("sub", "a\x00b")), identity.ErrInvalid},
		"a subject too long":      {both, hs(claims("sub", strings.Repeat("a", 256))), identity.ErrInvalid},
		"rules that nobody knows": {both, hs(claims(), "crit", "exp"), identity.ErrInvalid},

		"another secret":       {both, sign(t, jwt.SigningMethodHS256, []byte("another-secret-of-these-32-bytes"), claims()), identity.ErrInvalid},
		"no algorithm":         {both, sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims()), identity.ErrInvalid},
		"HS384":                {both, sign(t, jwt.SigningMethodHS384, []byte(secret), claims()), identity.ErrInvalid},
		"RS512":                {both, sign(t, jwt.SigningMethodRS512, k.rsa, claims(), "kid", "rsa"), identity.ErrInvalid},
		"PS256":                {both, sign(t, jwt.SigningMethodPS256, k.rsa, claims(), "kid", "rsa"), identity.ErrInvalid},
		"ES384":                {both, sign(t, jwt.SigningMethodES384, k.p384, claims(), "kid", "p384"), identity.ErrInvalid},
		"a key of 1024 bits":   {both, sign(t, jwt.SigningMethodRS256, k.small, claims(), "kid", "small"), identity.ErrInvalid},
		"another's key":        {both, sign(t, jwt.SigningMethodES256, newKeys(t).ecdsa, claims(), "kid", "ecdsa"), identity.ErrInvalid},
		"a key that is none":   {both, sign(t, jwt.SigningMethodES256, k.ecdsa, claims(), "kid", "nobody"), identity.ErrInvalid},
		"a key of other kind":  {both, sign(t, jwt.SigningMethodES256, k.ecdsa, claims(), "kid", "rsa"), identity.ErrInvalid},
		"HS256 by a key set":   {keysAlone, hs(claims()), identity.ErrInvalid},
		"an empty secret":      {keysAlone, sign(t, jwt.SigningMethodHS256, []byte{}, claims()), identity.ErrInvalid},
		"RS256 by a secret":    {secretAlone, sign(t, jwt.SigningMethodRS256, k.rsa, claims(), "kid", "rsa"), identity.ErrInvalid},
		"a secret in the set":  {keysAlone, sign(t, jwt.SigningMethodHS256, k.shared, claims(), "kid", "shared"), identity.ErrInvalid},
		"the set's public key": {both, sign(t, jwt.SigningMethodHS256, []byte(k.ed.Public().(ed25519.PublicKey)), claims(), "kid", "ed"), identity.ErrInvalid},
		"nothing":              {both, "", identity.ErrInvalid},
		"no token":             {both, "a.b.c", identity.ErrInvalid},
		"two parts":            {both, "a.b", identity.ErrInvalid},
		"a broken line":        {both, hs(claims())[:40] + "\n" + hs(claims())[40:], identity.ErrInvalid},
		"a line behind it":     {both, hs(claims()) + "\r\n", identity.ErrInvalid},
	} {
		person, err := c.by.Verify(t.Context(), c.token)
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if want := (identity.Person{Issuer: "issuer", Subject: "42"}); err == nil && person != want {
			t.Errorf("%s: %+v", name, person)
		}
		if err != nil && person != (identity.Person{}) {
			t.Errorf("%s: %v, and yet %+v", name, err, person)
		}
	}
}

func TestAnythingGoesWhereNothingIsSet(t *testing.T) {
	t.Parallel()
	v := verifier(t, identity.Config{Secret: []byte(secret)})
	person, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodHS256, []byte(secret), claims("iss", nil, "aud", nil, "preferred_username", "ada")))
	if want := (identity.Person{Subject: "42", Name: "ada"}); err != nil || person != want {
		t.Errorf("%+v, %v", person, err)
	}
}

func TestConfigThatIsNone(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	many := map[string]any{}
	for i := range 101 {
		many[strconv.Itoa(i)] = k.ed.Public()
	}
	for name, cfg := range map[string]identity.Config{
		"nothing":             {},
		"a short secret":      {Secret: []byte(secret)[:31]},
		"no file":             {JWKS: filepath.Join(t.TempDir(), "none")},
		"no set":              {JWKS: file(t, []byte("[]"))},
		"no key":              {JWKS: file(t, []byte(`{"keys":[]}`))},
		"no key that is good": {JWKS: file(t, set(t, map[string]any{"small": k.small.Public(), "shared": k.shared}))},
		"too many keys":       {JWKS: file(t, set(t, many))},
		"too large":           {JWKS: file(t, []byte(strings.Repeat(" ", 1<<20+1)))},
		"another scheme":      {JWKS: "ftp://127.0.0.1/jwks"},
		"a password":          {JWKS: "https://me:password@127.0.0.1/jwks"},
	} {
		if _, err := identity.New(t.Context(), cfg); err == nil || strings.Contains(err.Error(), "password@") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// issuer serves a key set that can be replaced.
type issuer struct {
	*httptest.Server
	content atomic.Pointer[[]byte]
	asked   atomic.Int64
}

func newIssuer(t *testing.T, content []byte) *issuer {
	t.Helper()
	i := &issuer{}
	i.content.Store(&content)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		if c := *i.content.Load(); c != nil {
			_, _ = w.Write(c)
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(i.Close)
	return i
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	old, next := newKeys(t), newKeys(t)
	i := newIssuer(t, set(t, map[string]any{"1": old.ecdsa.Public()}))
	v := verifier(t, identity.Config{JWKS: i.URL, Retry: time.Millisecond})
	token := func(k crypto.Signer, kid string) string {
		return sign(t, jwt.SigningMethodES256, k, claims(), "kid", kid)
	}
	by := func(token string) error { _, err := v.Verify(t.Context(), token); return err }
	must(t, by(token(old.ecdsa, "1")))
	if n := i.asked.Load(); n != 1 {
		t.Errorf("asked %d times for a key that was there", n)
	}
	rotated := set(t, map[string]any{"2": next.ecdsa.Public()})
	i.content.Store(&rotated)
	harness.Eventually(t, 5*time.Second, func() error { return by(token(next.ecdsa, "2")) })
	if err := by(token(old.ecdsa, "1")); !errors.Is(err, identity.ErrInvalid) {
		t.Errorf("the key that was taken away: %v", err)
	}

	// An issuer who is away takes no key away.
	var none []byte
	i.content.Store(&none)
	_ = by(token(old.ecdsa, "3"))
	must(t, by(token(next.ecdsa, "2")))
}

// TestUnknownKeysDoNotFlood: who sends tokens that name keys of his own does not
// have the issuer asked more often than once in a while.
func TestUnknownKeysDoNotFlood(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	i := newIssuer(t, set(t, map[string]any{"1": k.ecdsa.Public()}))
	v := verifier(t, identity.Config{JWKS: i.URL, Retry: time.Hour})
	for n := range 100 {
		_, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodES256, k.ecdsa, claims(), "kid", fmt.Sprint("mine", n)))
		if !errors.Is(err, identity.ErrInvalid) {
			t.Fatal(err)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

// TestIssuerThatIsAwayAtTheStart: tokens wait for it, and others are taken.
func TestIssuerThatIsAwayAtTheStart(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	i := newIssuer(t, nil)
	v := verifier(t, identity.Config{JWKS: i.URL, Secret: []byte(secret), Retry: time.Millisecond})
	token := sign(t, jwt.SigningMethodES256, k.ecdsa, claims(), "kid", "1")
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	_, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodHS256, []byte(secret), claims()))
	must(t, err)
	there := set(t, map[string]any{"1": k.ecdsa.Public()})
	i.content.Store(&there)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); v.Run(ctx) }()
	harness.Eventually(t, 5*time.Second, func() error { _, err := v.Verify(t.Context(), token); return err })
	cancel()
	<-done
}

// TestKeySetStaysOnItsHost: a redirect to another host is not followed.
func TestKeySetStaysOnItsHost(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	other := newIssuer(t, set(t, map[string]any{"1": k.ecdsa.Public()}))
	away := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	t.Cleanup(away.Close)
	v := verifier(t, identity.Config{JWKS: away.URL})
	if _, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodES256, k.ecdsa, claims(), "kid", "1")); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	if n := other.asked.Load(); n != 0 {
		t.Error("another host was asked")
	}
}

// FuzzVerify sends anything. It never panics, and only what was signed is taken.
func FuzzVerify(f *testing.F) {
	k := newKeys(f)
	v := verifier(f, identity.Config{Secret: []byte(secret), JWKS: file(f, k.set(f)), Issuer: "issuer", Audience: "holdfast"})
	// The fuzzer's workers are processes of their own, to which the same has to be good.
	lasting := claims("exp", time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
	good := map[string]bool{}
	for _, token := range []string{
		sign(f, jwt.SigningMethodHS256, []byte(secret), lasting),
		sign(f, jwt.SigningMethodES256, k.ecdsa, lasting, "kid", "ecdsa"),
		sign(f, jwt.SigningMethodEdDSA, k.ed, lasting, "kid", "ed"),
	} {
		good[token] = true
		f.Add(token)
	}
	f.Add(sign(f, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims()))
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "..")
	f.Fuzz(func(t *testing.T, token string) {
		person, err := v.Verify(t.Context(), token)
		switch {
		case err == nil && !good[token]:
			t.Errorf("%q was taken for %+v", token, person)
		case err != nil && !errors.Is(err, identity.ErrInvalid) && !errors.Is(err, identity.ErrExpired):
			t.Errorf("%q: %v", token, err)
		}
	})
}

// FuzzKeySet reads anything as a key set.
func FuzzKeySet(f *testing.F) {
	k := newKeys(f)
	f.Add(k.set(f))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"","e":"AQAB"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := identity.New(t.Context(), identity.Config{JWKS: file(t, raw), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return
		}
		_, _ = v.Verify(t.Context(), sign(t, jwt.SigningMethodES256, k.ecdsa, claims()))
	})
}
