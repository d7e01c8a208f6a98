package harness

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/cmd/devservers"
)

// SecureEnv are private servers of this machine that are reached as those of a
// production are: over TLS with certificates of a private authority, by users
// with passwords. Redis wants a certificate of its clients too. RedisURL and
// DatabaseURL of Env are the administrator's, without any of that.
type SecureEnv struct {
	Env
	CAFile            string // signed the servers' certificates
	StrangerCAFile    string // signed nobody's
	CertFile, KeyFile string // to show to Redis

	redis, postgres string // host:port of TLS
}

// Secure starts such servers for one test, with a migrated database, and stops
// them at its end. They have no users yet but the administrator.
func Secure(tb testing.TB) *SecureEnv {
	tb.Helper()
	b := current.Load()
	if b == nil {
		tb.Fatal("harness: TestMain does not call harness.Main")
	}
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatalf("harness: %v", err)
		}
	}
	dir := tb.TempDir()
	ours, err := newAuthority(dir, "ca.crt")
	must(err)
	_, err = newAuthority(dir, "stranger.crt")
	must(err)
	certificate, key, err := ours.sign()
	must(err)
	s := &SecureEnv{
		CAFile: filepath.Join(dir, "ca.crt"), StrangerCAFile: filepath.Join(dir, "stranger.crt"),
		CertFile: filepath.Join(dir, "127.0.0.1.crt"), KeyFile: filepath.Join(dir, "127.0.0.1.key"),
		redis: net.JoinHostPort("127.0.0.1", FreePort(tb)),
	}
	must(os.WriteFile(s.CertFile, certificate, 0o600))
	must(os.WriteFile(s.KeyFile, key, 0o600))
	_, port, err := net.SplitHostPort(s.redis)
	must(err)
	servers, err := devservers.Start(ctx, devservers.Config{
		TCP: true, PostgresSettings: []string{"fsync=off"},
		RedisArgs: []string{
			"--tls-port", port, "--tls-ca-cert-file", s.CAFile, "--tls-cert-file", s.CertFile, "--tls-key-file", s.KeyFile, "--tls-auth-clients", "yes",
		},
	})
	must(err)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		must(servers.Stop(ctx))
	})
	s.Env = Env{tb: tb, RedisURL: servers.RedisURL(), DatabaseURL: servers.DatabaseURL(), Prefix: "own"}
	u, err := url.Parse(s.DatabaseURL)
	must(err)
	s.postgres = u.Host
	must(b.options.Migrate(ctx, s.DatabaseURL))
	must(secureDatabase(ctx, s.DatabaseURL, string(certificate), string(key)))
	return s
}

// secureDatabase has Postgres take others than the administrator over TLS and
// with a password alone. It writes the files itself, as the user it runs as.
func secureDatabase(ctx context.Context, at, certificate, key string) error {
	conn, err := pgx.Connect(ctx, at)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	access := "host all holdfast 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
	for file, content := range map[string]string{"server.crt": certificate, "server.key": key, "pg_hba.conf": access} {
		sql := fmt.Sprintf(`COPY (SELECT regexp_split_to_table(rtrim($text$%s$text$, E'\n'), E'\n')) TO PROGRAM 'umask 077 && cat > %s'`, content, file)
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
	}
	for _, sql := range []string{"ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// SecureRedisURL is Redis over TLS for a user.
func (s *SecureEnv) SecureRedisURL(user, password string) string {
	u := url.URL{Scheme: "rediss", User: url.UserPassword(user, password), Host: s.redis, Path: "/0"}
	return u.String()
}

// SecureDatabaseURL is Postgres over TLS for a role, its certificate checked
// against those of the file.
func (s *SecureEnv) SecureDatabaseURL(role, password, caFile string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, password), Host: s.postgres, Path: "/holdfast"}
	u.RawQuery = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {caFile}}.Encode()
	return u.String()
}

// SQL runs statements as the administrator.
func (s *SecureEnv) SQL(statements string) {
	s.tb.Helper()
	if err := execSQL(s.tb.Context(), s.DatabaseURL, statements); err != nil {
		s.tb.Fatalf("harness: %v", err)
	}
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// newAuthority makes one and writes its certificate to the file.
func newAuthority(dir, file string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: file}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	a := &authority{key: key}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return a, os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}

// sign gives a certificate for 127.0.0.1, of a server or a client, with its key.
func (a *authority) sign() (certificate, key []byte, err error) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &own.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), nil
}
