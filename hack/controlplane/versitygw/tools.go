//go:build tools

// Package tools pins the versitygw command that the local cluster builds.
package tools

import _ "github.com/versity/versitygw/cmd/versitygw"
