// Package registration has the types of an account's registration.
package registration

import (
	"context"

	"github.com/go-acme/lego/v5/acme"
)

// RegisterOptions are those of a registration.
type RegisterOptions struct{ TermsOfServiceAgreed bool }

// RegisterEABOptions are those of one with an external account.
type RegisterEABOptions struct {
	TermsOfServiceAgreed bool
	Kid, HmacEncoded     string
}

// Registrar registers nobody.
type Registrar struct{}

// Register registers nobody.
func (*Registrar) Register(context.Context, RegisterOptions) (*acme.ExtendedAccount, error) {
	return nil, acme.ErrNone
}

// RegisterWithExternalAccountBinding registers nobody.
func (*Registrar) RegisterWithExternalAccountBinding(context.Context, RegisterEABOptions) (*acme.ExtendedAccount, error) {
	return nil, acme.ErrNone
}
