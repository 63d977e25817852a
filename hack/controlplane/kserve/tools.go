//go:build tools

// Package tools pins the KServe manager that the tests run.
package tools

import _ "github.com/kserve/kserve/cmd/manager"
