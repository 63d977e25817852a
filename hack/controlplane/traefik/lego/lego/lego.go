// Package lego has the client.
package lego

import (
	"crypto/x509"
	"net/http"
	"time"

	"github.com/go-acme/lego/v5/acme"
	"github.com/go-acme/lego/v5/certificate"
	"github.com/go-acme/lego/v5/challenge"
	"github.com/go-acme/lego/v5/challenge/dns01"
	"github.com/go-acme/lego/v5/challenge/http01"
	"github.com/go-acme/lego/v5/challenge/tlsalpn01"
	"github.com/go-acme/lego/v5/registration"
)

// DirectoryURLLetsEncrypt is nobody's.
const DirectoryURLLetsEncrypt = "https://acme.invalid/directory"

// Config is that of a client.
type Config struct {
	CADirURL    string
	UserAgent   string
	HTTPClient  *http.Client
	Certificate struct{ Timeout time.Duration }
}

// NewConfig makes one.
func NewConfig(any) *Config { return &Config{} }

// Challenges answers none.
type Challenges struct{}

// SetDNS01Provider takes none.
func (Challenges) SetDNS01Provider(challenge.Provider, ...dns01.ChallengeOption) error {
	return acme.ErrNone
}

// SetHTTP01Provider takes none.
func (Challenges) SetHTTP01Provider(challenge.Provider, ...http01.ChallengeOption) error {
	return acme.ErrNone
}

// SetTLSALPN01Provider takes none.
func (Challenges) SetTLSALPN01Provider(challenge.Provider, ...tlsalpn01.ChallengeOption) error {
	return acme.ErrNone
}

// Client orders nothing.
type Client struct {
	Certificate  *certificate.Certifier
	Challenge    Challenges
	Registration *registration.Registrar
}

// NewClient makes none.
func NewClient(*Config) (*Client, error) { return nil, acme.ErrNone }

// CreateCertPool makes none.
func CreateCertPool([]string, bool) (*x509.CertPool, error) { return nil, acme.ErrNone }
