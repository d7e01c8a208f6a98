package api_test

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/identity"
)

// What the tokens of these tests are signed with, for whom and by whom.
const (
	tokenSecret   = "a-secret-of-these-tests-32-bytes"
	tokenIssuer   = "https://issuer.example"
	tokenAudience = "holdfast"
)

// claimsOf are those of a valid token.
func claimsOf(sub string) jwt.MapClaims {
	return jwt.MapClaims{"sub": sub, "iss": tokenIssuer, "aud": tokenAudience, "exp": time.Now().Add(time.Hour).Unix()}
}

// signed is a token with these claims.
func signed(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	must(t, err)
	return token
}

// tokenOf is a valid token.
func tokenOf(t *testing.T, sub string) string {
	t.Helper()
	return signed(t, jwt.SigningMethodHS256, []byte(tokenSecret), claimsOf(sub))
}

// withTokens has a server tell buyers by tokens.
func withTokens(t *testing.T) func(*wiring) {
	t.Helper()
	verifier, err := identity.New(t.Context(), identity.Config{
		Secret: []byte(tokenSecret), Issuer: tokenIssuer, Audience: tokenAudience, Log: quiet(),
	})
	must(t, err)
	return func(w *wiring) {
		before := w.api
		w.api = func(c *api.Config) {
			if before != nil {
				before(c)
			}
			c.Identity = verifier
		}
	}
}

// as is the header of a call that brings the token.
func as(token string) []string { return []string{"Authorization", "Bearer " + token} }
