//go:build tools

// Package tools pins the Prometheus that the tests run.
package tools

import _ "github.com/prometheus/prometheus/cmd/prometheus"
