// Package http01 is the challenge by HTTP.
package http01

import "time"

// PathPrefix is where challenges are asked.
const PathPrefix = "/.well-known/acme-challenge/"

// ChallengeOption changes nothing.
type ChallengeOption struct{}

// SetDelay is an option.
func SetDelay(time.Duration) ChallengeOption { return ChallengeOption{} }
