//go:build !linux

package harness

import "os/exec"

// dieWithParent does nothing where there are no parent-death signals.
func dieWithParent(*exec.Cmd) {}
