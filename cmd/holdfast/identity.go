package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/identity"
)

// identityFlags say who is who.
type identityFlags struct {
	Identity    string `env:"HOLDFAST_IDENTITY" placeholder:"open|jwt" help:"Who says who buys: open (the body of a request; for back ends that are trusted) or jwt (a Bearer token)."`
	JWTSecret   string `name:"jwt-secret" secret:"" env:"HOLDFAST_JWT_SECRET" placeholder:"SECRET" help:"Secret of tokens signed with HS256, of 32 bytes or more."`
	JWKS        string `name:"jwks" env:"HOLDFAST_JWKS" placeholder:"FILE|URL" help:"Key set of tokens signed with RS256, ES256 or EdDSA."`
	JWTIssuer   string `name:"jwt-issuer" env:"HOLDFAST_JWT_ISSUER" placeholder:"ISSUER" help:"What the iss of a token must be."`
	JWTAudience string `name:"jwt-audience" env:"HOLDFAST_JWT_AUDIENCE" placeholder:"AUDIENCE" help:"What the aud of a token must contain."`
	AdminToken  string `name:"admin-token" secret:"" env:"HOLDFAST_ADMIN_TOKEN" placeholder:"TOKEN" help:"Bearer token that calls of operators, the console and /metrics need, of 32 characters or more."`
	AdminAddr   string `name:"admin-addr" env:"HOLDFAST_ADMIN_ADDR" placeholder:"HOST:PORT" help:"Have calls of operators, the console, metrics and profiles answered here, and nowhere else."`
}

const (
	identityOpen = "open"
	identityJWT  = "jwt"
)

// validate gives every error at once.
func (f *identityFlags) validate() error {
	var errs []error
	switch f.Identity {
	case identityOpen:
		if f.JWTSecret != "" || f.JWKS != "" || f.JWTIssuer != "" || f.JWTAudience != "" {
			errs = append(errs, errors.New("HOLDFAST_IDENTITY (--identity): is open, but there are settings of tokens, which would do nothing; set it to jwt or take them away"))
		}
	case identityJWT:
		if f.JWTSecret == "" && f.JWKS == "" {
			errs = append(errs, errors.New("HOLDFAST_IDENTITY (--identity): jwt needs HOLDFAST_JWT_SECRET (--jwt-secret) or HOLDFAST_JWKS (--jwks)"))
		}
	case "":
		errs = append(errs, errors.New("HOLDFAST_IDENTITY (--identity) is not set. Choose jwt, where buyers bring Bearer tokens; or open, where who can reach the API may buy for anybody, as only a trusted back end should"))
	default:
		errs = append(errs, fmt.Errorf("HOLDFAST_IDENTITY (--identity): %q is neither open nor jwt", f.Identity))
	}
	if n := len(f.JWTSecret); n > 0 && n < identity.MinSecret {
		errs = append(errs, fmt.Errorf("HOLDFAST_JWT_SECRET (--jwt-secret): has %d bytes, fewer than %d", n, identity.MinSecret))
	}
	if f.AdminToken == "" {
		errs = append(errs, fmt.Errorf("HOLDFAST_ADMIN_TOKEN (--admin-token) is not set. Make one of %d characters or more, such as by openssl rand -hex 32", api.MinAdminToken))
	} else if err := api.CheckAdminToken(f.AdminToken); err != nil {
		errs = append(errs, fmt.Errorf("HOLDFAST_ADMIN_TOKEN (--admin-token): %w", err))
	}
	if f.AdminAddr != "" {
		if _, _, err := net.SplitHostPort(f.AdminAddr); err != nil {
			errs = append(errs, fmt.Errorf("HOLDFAST_ADMIN_ADDR (--admin-addr): %q is not HOST:PORT", f.AdminAddr))
		}
	}
	return errors.Join(errs...)
}

// verifier is nil where identity is open.
func (f *identityFlags) verifier(ctx context.Context, log *slog.Logger) (*identity.Verifier, error) {
	if f.Identity != identityJWT {
		return nil, nil
	}
	if f.JWTIssuer == "" {
		log.Warn("HOLDFAST_JWT_ISSUER is not set: tokens of every issuer that the keys check are taken")
	}
	if f.JWTAudience == "" {
		log.Warn("HOLDFAST_JWT_AUDIENCE is not set: tokens that were issued for other services are taken")
	}
	return identity.New(ctx, identity.Config{
		Secret: []byte(f.JWTSecret), JWKS: f.JWKS, Issuer: f.JWTIssuer, Audience: f.JWTAudience, Log: log,
	})
}

// listenBack is the listener of operators; nil where there is none of their own.
func (f *identityFlags) listenBack(ctx context.Context) (net.Listener, error) {
	if f.AdminAddr == "" {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.AdminAddr)
	if err != nil {
		return nil, fmt.Errorf("HOLDFAST_ADMIN_ADDR (--admin-addr): %w", err)
	}
	return l, nil
}

// backAddress is where operators are served.
func (in *instance) backAddress() string {
	if in.back == nil {
		return in.address()
	}
	return "http://" + in.back.Addr().String()
}

// tokenFile is where dev keeps the admin token, in its data folder.
const tokenFile = "admin-token"

// complete gives dev what serve has to be told: identity is open, and the
// admin token is kept in the data folder.
func (f *identityFlags) complete(data string) (err error) {
	if f.Identity == "" {
		f.Identity = identityOpen
	}
	if f.AdminToken == "" {
		f.AdminToken, err = keptToken(filepath.Join(data, tokenFile))
	}
	return err
}

// keptToken is the token in the file, which is made where there is none.
func keptToken(file string) (string, error) {
	kept, err := os.ReadFile(file) //nolint:gosec // in the data folder, which is the user's to choose
	if err == nil {
		return strings.TrimSpace(string(kept)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	secret := make([]byte, api.MinAdminToken)
	_, _ = rand.Read(secret) // never fails
	token := hex.EncodeToString(secret)
	return token, os.WriteFile(file, []byte(token+"\n"), 0o600)
}
