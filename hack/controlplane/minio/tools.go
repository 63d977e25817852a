//go:build tools

// Package tools pins the minio command that the local cluster builds.
package tools

import _ "github.com/minio/minio"
