// Command mutate takes the guards of Holdfast away, one at a time, and runs the
// tests that should notice. A guard that nobody misses guards nothing, or is
// not tested: then it exits with status 1.
//
//	go run ./test/mutate [-run REGEXP]
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	only := flag.String("run", "", "only mutations whose name matches")
	flag.Parse()
	if err := run(*only); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(only string) error {
	matches, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "holdfast-mutate-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	missed, done := 0, 0
	for _, m := range mutations {
		if !matches.MatchString(m.name) {
			continue
		}
		done++
		caught, err := m.try(dir)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", m.name, err)
		case caught == "":
			missed++
			fmt.Printf("MISSED  %-32s %s\n", m.name, m.file)
		default:
			fmt.Printf("caught  %-32s %-32s by %s\n", m.name, m.file, caught)
		}
	}
	if done == 0 {
		return fmt.Errorf("no mutation matches %q", only)
	}
	if missed > 0 {
		return fmt.Errorf("%d of %d mutations were not noticed", missed, done)
	}
	fmt.Printf("%d mutations, each was caught.\n", done)
	return nil
}

// timeout of one mutation: some make a test wait for what never comes.
const timeout = 3 * time.Minute

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// try runs the tests on the tree with the mutation laid over it, and gives the
// first that failed, or nothing.
func (m mutation) try(dir string) (string, error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(source, []byte(m.find)); n != 1 {
		return "", fmt.Errorf("%s has the text to replace %d times, want once", m.file, n)
	}
	mutated := filepath.Join(dir, "mutated"+filepath.Ext(m.file))
	if err := os.WriteFile(mutated, bytes.Replace(source, []byte(m.find), []byte(m.replace), 1), 0o600); err != nil {
		return "", err
	}
	original, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: mutated}})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	args := []string{"test", "-count=1", "-failfast", "-timeout", "2m", "-run", "^(" + m.tests + ")$", m.pkg}
	test := exec.CommandContext(ctx, "go", args...)
	test.Env = append(os.Environ(), "GOFLAGS=-overlay="+file) // for the commands that tests build, too
	out, err := test.CombinedOutput()
	if err == nil {
		return "", nil
	}
	if found := failed.FindSubmatch(out); found != nil {
		return string(found[1]), nil
	}
	if strings.Contains(string(out), "panic: test timed out") {
		return "its time limit (" + m.tests + ")", nil
	}
	return "", errors.Join(err, fmt.Errorf("no test failed, but go test did:\n%s", out))
}
