// Package acme and the others of this module stand where lego would: the client of ACME, with which Traefik orders
// certificates. lego comes with the clients of some 190 DNS services, and the Go module proxy does not have all of them.
// A gateway of tests orders no certificate: every function of this module that would do so answers ErrNone.
package acme

import "errors"

// ErrNone is the answer of whatever would order a certificate.
var ErrNone = errors.New("this gateway is built without ACME")

// Account is an account of an ACME server.
type Account struct{}

// ExtendedAccount is an account with its location.
type ExtendedAccount struct {
	Account

	Location string
}
