//go:build tools

// Package tools pins the CoreDNS command that the local node builds.
package tools

import _ "github.com/coredns/coredns"
