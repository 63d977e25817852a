//go:build tools

// Package tools pins the program that the tests run.
package tools

import _ "github.com/traefik/traefik/v3/cmd/traefik"
