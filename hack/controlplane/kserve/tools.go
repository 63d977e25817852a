//go:build tools

// Package tools pins KServe's managers that the tests run.
package tools

import (
	_ "github.com/kserve/kserve/cmd/llmisvc"
	_ "github.com/kserve/kserve/cmd/manager"
)
