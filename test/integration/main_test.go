// Package integration drives the holdfast command as processes: over HTTP, by
// signals and by kill -9, on real servers that are stopped and killed too.
package integration

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

// binary is the command under test, built once with the race detector.
var binary string

func TestMain(m *testing.M) {
	if spec := os.Getenv(attackEnv); spec != "" {
		attack(spec)
	}
	dir, err := prepare()
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		_ = os.RemoveAll(dir)
		os.Exit(1)
	}
	harness.Main(m, harness.Options{Migrate: persist.Migrate, After: func() error { return os.RemoveAll(dir) }})
}

// prepare builds the command, in dir.
func prepare() (dir string, err error) {
	// The tests wait for processes and deadlines more than they compute, so
	// more of them run at once than there are cores.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp("", "holdfast-integration-"); err != nil {
		return "", err
	}
	binary, err = harness.Build(dir, true)
	return dir, err
}
