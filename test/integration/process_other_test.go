//go:build !linux

package integration

import "os/exec"

// dieWithParent does nothing where there are no parent-death signals.
func dieWithParent(*exec.Cmd) {}
