// Package dns01 is the challenge by DNS.
package dns01

import (
	"strings"
	"time"
)

// ChallengeOption changes nothing.
type ChallengeOption struct{}

// Options are those of a client.
type Options struct{ RecursiveNameservers []string }

// Client asks nobody.
type Client struct{}

// NewClient makes a client.
func NewClient(*Options) *Client { return &Client{} }

// SetDefaultClient forgets the client.
func SetDefaultClient(*Client) {}

// CondOptions is an option.
func CondOptions(bool, ...ChallengeOption) ChallengeOption { return ChallengeOption{} }

// DisableAuthoritativeNssPropagationRequirement is an option.
func DisableAuthoritativeNssPropagationRequirement() ChallengeOption { return ChallengeOption{} }

// DisableRecursiveNSsPropagationRequirement is an option.
func DisableRecursiveNSsPropagationRequirement() ChallengeOption { return ChallengeOption{} }

// PropagationWait is an option.
func PropagationWait(time.Duration, bool) ChallengeOption { return ChallengeOption{} }

// UnFqdn is a name without its last dot.
func UnFqdn(name string) string { return strings.TrimSuffix(name, ".") }
