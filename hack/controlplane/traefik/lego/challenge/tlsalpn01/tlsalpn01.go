// Package tlsalpn01 is the challenge by TLS.
package tlsalpn01

import (
	"time"

	"github.com/go-acme/lego/v5/acme"
)

// ACMETLS1Protocol is the protocol of the challenge.
const ACMETLS1Protocol = "acme-tls/1"

// ChallengeOption changes nothing.
type ChallengeOption struct{}

// SetDelay is an option.
func SetDelay(time.Duration) ChallengeOption { return ChallengeOption{} }

// ChallengeBlocks makes no certificate.
func ChallengeBlocks(string, string) ([]byte, []byte, error) { return nil, nil, acme.ErrNone }
