package engine

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// secure puts the files of cfg into the address, which has to be one with TLS
// where there are any. ErrInvalid names the file that does not do.
func (a address) secure(cfg ClientConfig) error {
	if cfg.CAFile == "" && cfg.CertFile == "" && cfg.KeyFile == "" {
		return nil
	}
	var config *tls.Config
	switch {
	case a.single != nil:
		config = a.single.TLSConfig
	case a.sentinel != nil:
		config = a.sentinel.TLSConfig
	case a.cluster != nil:
		config = a.cluster.TLSConfig
	}
	if config == nil {
		return fmt.Errorf("%w: certificates are given for Redis, and its URL is none of rediss://, rediss-sentinel:// and rediss-cluster://", ErrInvalid)
	}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return fmt.Errorf("%w: certificates for Redis: %w", ErrInvalid, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%w: certificates for Redis: %s has none in PEM", ErrInvalid, cfg.CAFile)
		}
	}
	if cfg.CertFile != "" || cfg.KeyFile != "" {
		own, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return fmt.Errorf("%w: the certificate to show to Redis, and its key: %w", ErrInvalid, err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return nil
}
