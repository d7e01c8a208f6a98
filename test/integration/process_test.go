package integration

import (
	"testing"

	"github.com/holdfast/holdfast/test/harness"
)

// command is a process of the command under test that is not started yet.
func command(t testing.TB, env []string, args ...string) *harness.Process {
	t.Helper()
	return harness.NewProcess(t, binary, env, args...)
}

// run runs a command that ends by itself, and gives what it printed and its
// exit status.
func run(t testing.TB, env []string, args ...string) (printed string, status int) {
	t.Helper()
	return harness.Run(t, binary, env, args...)
}
