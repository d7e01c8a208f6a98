package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"golang.org/x/sync/singleflight"
)

// The algorithms that a Verifier can allow.
const (
	hs256 = "HS256"
	rs256 = "RS256"
	es256 = "ES256"
	edDSA = "EdDSA"
)

const (
	maxKeySet   = 1 << 20 // bytes
	maxKeys     = 100
	fetchTime   = 5 * time.Second
	minRSABytes = 2048 / 8
)

// keySet is the public keys of who issues tokens. It is read again now and
// then, and when a token names a key that is not in it.
type keySet struct {
	from    string
	isFile  bool
	http    *http.Client
	refresh time.Duration
	retry   time.Duration
	log     *slog.Logger

	reading singleflight.Group

	mu   sync.RWMutex
	keys []key
	read bool      // it has been, once at least
	busy bool      // it is being read
	last time.Time // when a reading began, good or not
}

// key is one key, and the one algorithm that it is for.
type key struct {
	id, alg string
	public  crypto.PublicKey
}

func openKeySet(ctx context.Context, cfg Config) (*keySet, error) {
	s := &keySet{from: cfg.JWKS, refresh: cfg.Refresh, retry: cfg.Retry, log: cfg.Log}
	scheme, _, isURL := strings.Cut(cfg.JWKS, "://")
	switch {
	case !isURL:
		s.isFile = true
	case scheme != "http" && scheme != "https":
		return nil, fmt.Errorf("identity: JWKS %q: must be a file or an http(s) address", cfg.JWKS)
	default:
		if u, err := url.Parse(cfg.JWKS); err != nil || u.Host == "" || u.User != nil {
			return nil, errors.New("identity: JWKS: is no http(s) address, or has a password in it")
		}
		s.http = &http.Client{Timeout: fetchTime, CheckRedirect: sameHost}
	}
	err := s.load(ctx)
	if err != nil && s.isFile {
		return nil, err
	}
	return s, nil // load has logged what else went wrong
}

// sameHost lets a key set move on its host alone: who answers for another is
// not whom the operator chose.
func sameHost(to *http.Request, via []*http.Request) error {
	const most = 3
	if first := via[0].URL; len(via) > most || to.URL.Host != first.Host || to.URL.Scheme != first.Scheme {
		return http.ErrUseLastResponse
	}
	return nil
}

// run reads the set now and then until ctx ends, and soon where none has been read.
func (s *keySet) run(ctx context.Context) {
	for {
		wait := s.refresh
		s.mu.RLock()
		if !s.read {
			wait = s.retry
		}
		s.mu.RUnlock()
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		_ = s.load(ctx) // it has logged the error; the keys that are known stay
	}
}

// find gives the key of this id for the algorithm. Without an id there has to be
// one key alone that can be meant.
func (s *keySet) find(ctx context.Context, alg, id string) (crypto.PublicKey, error) {
	public, due := s.known(alg, id)
	if public == nil && due && (id != "" || !s.wasRead()) {
		if err := s.load(ctx); err == nil {
			public, _ = s.known(alg, id)
		}
	}
	switch {
	case public != nil:
		return public, nil
	case !s.wasRead():
		return nil, ErrUnavailable
	}
	return nil, ErrInvalid
}

// known looks among the keys that have been read; due says that the set may be
// read again for a key that is not there.
func (s *keySet) known(alg, id string) (public crypto.PublicKey, due bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	fits := 0
	for i := range s.keys {
		if k := &s.keys[i]; k.alg == alg && (id == "" || k.id == id) {
			public = k.public
			fits++
		}
	}
	if fits != 1 {
		public = nil
	}
	return public, s.busy || time.Since(s.last) >= s.retry
}

func (s *keySet) wasRead() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.read
}

// load reads the set; callers at the same time share one reading, which
// outlives those who go away.
func (s *keySet) load(ctx context.Context) error {
	shared := context.WithoutCancel(ctx)
	done := s.reading.DoChan("", func() (any, error) {
		s.mu.Lock()
		s.busy, s.last = true, time.Now()
		s.mu.Unlock()
		keys, err := s.fetch(shared)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.busy = false
		if err != nil {
			s.log.Warn("the key set of tokens could not be read", "jwks", s.from, "err", err)
			return nil, err
		}
		s.keys, s.read = keys, true
		return nil, nil
	})
	select {
	case res := <-done:
		return res.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *keySet) fetch(ctx context.Context) ([]key, error) {
	if s.isFile {
		file, err := os.Open(s.from)
		if err != nil {
			return nil, fmt.Errorf("identity: JWKS: %w", err)
		}
		defer func() { _ = file.Close() }()
		return readKeySet(file)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.from, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("identity: JWKS: %w", err)
	}
	res, err := s.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("identity: JWKS: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("identity: JWKS: answer %d", res.StatusCode)
	}
	return readKeySet(res.Body)
}

func readKeySet(from io.Reader) ([]key, error) {
	raw, err := io.ReadAll(io.LimitReader(from, maxKeySet+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("identity: JWKS: %w", err)
	case len(raw) > maxKeySet:
		return nil, fmt.Errorf("identity: JWKS: more than %d bytes", maxKeySet)
	}
	return parseKeySet(raw)
}

// parseKeySet gives the keys of a JSON Web Key Set that can check tokens; it
// passes over keys of other kinds. A set without any is an error.
func parseKeySet(raw []byte) ([]key, error) {
	var set struct {
		Keys []jwkset.JWKMarshal `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, errors.New("identity: JWKS: is no JSON Web Key Set") // its text may be of a private key
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("identity: JWKS: has more than %d keys", maxKeys)
	}
	var keys []key
	for _, m := range set.Keys {
		parsed, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{})
		if err != nil || m.USE != "" && m.USE != jwkset.UseSig {
			continue
		}
		public := parsed.Key()
		if private, ok := public.(interface{ Public() crypto.PublicKey }); ok {
			public = private.Public()
		}
		if alg := algorithmOf(public); alg != "" && (m.ALG == "" || m.ALG.String() == alg) {
			keys = append(keys, key{id: m.KID, alg: alg, public: public})
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("identity: JWKS: has no key for %s (2048 bits or more), %s or %s", rs256, es256, edDSA)
	}
	return keys, nil
}

// algorithmOf is the one algorithm that a key may check; empty for keys of
// other kinds, a shared secret among them.
func algorithmOf(public crypto.PublicKey) string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.Size() >= minRSABytes {
			return rs256
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return es256
		}
	case ed25519.PublicKey:
		return edDSA
	}
	return ""
}
