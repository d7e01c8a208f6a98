// Package integration drives the holdfast command as processes: over HTTP, by
// signals and by kill -9, on real servers that are stopped and killed too.
package integration

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

// binary is the command under test, built once with the race detector.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "holdfast-integration-")
	if err == nil {
		binary = filepath.Join(dir, "holdfast")
		err = build()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		os.Exit(1)
	}
	// The tests wait for processes and deadlines more than they compute, so
	// more of them run at once than there are cores.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		os.Exit(1)
	}
	harness.Main(m, harness.Options{Migrate: persist.Migrate, After: func() error { return os.RemoveAll(dir) }})
}

func build() error {
	out, err := exec.Command("go", "build", "-race", "-o", binary, "../../cmd/holdfast").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build holdfast: %w\n%s", err, out)
	}
	return nil
}
