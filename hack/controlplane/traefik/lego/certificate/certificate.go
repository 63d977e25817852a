// Package certificate has the types of an order.
package certificate

import (
	"context"

	"github.com/go-acme/lego/v5/acme"
	"github.com/go-acme/lego/v5/certcrypto"
)

// Resource is a certificate.
type Resource struct {
	ID          string
	Domains     []string
	PrivateKey  []byte
	Certificate []byte
}

// ObtainRequest asks for a certificate.
type ObtainRequest struct {
	Domains          []string
	EmailAddresses   []string
	Profile          string
	PreferredChain   string
	KeyType          certcrypto.KeyType
	Bundle           bool
	EnableCommonName bool
}

// RenewOptions are those of a renewal.
type RenewOptions struct {
	EmailAddresses   []string
	Profile          string
	PreferredChain   string
	Bundle           bool
	EnableCommonName bool
}

// Certifier orders nothing.
type Certifier struct{}

// Obtain orders nothing.
func (*Certifier) Obtain(context.Context, ObtainRequest) (*Resource, error) { return nil, acme.ErrNone }

// Renew renews nothing.
func (*Certifier) Renew(context.Context, Resource, *RenewOptions) (*Resource, error) {
	return nil, acme.ErrNone
}
