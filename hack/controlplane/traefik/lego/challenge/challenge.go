// Package challenge has the interface of what answers challenges.
package challenge

import (
	"context"
	"time"
)

// Provider answers a challenge.
type Provider interface {
	Present(ctx context.Context, domain, token, keyAuth string) error
	CleanUp(ctx context.Context, domain, token, keyAuth string) error
}

// ProviderTimeout is a Provider with a timeout of its own.
type ProviderTimeout interface {
	Provider
	Timeout() (timeout, interval time.Duration)
}
