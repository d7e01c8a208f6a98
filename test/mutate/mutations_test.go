package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMutationsFit looks whether what each mutation takes away is there, once.
func TestMutationsFit(t *testing.T) {
	t.Parallel()
	for _, m := range mutations {
		source, err := os.ReadFile(filepath.Join("..", "..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), m.find); n != 1 {
			t.Errorf("%s: what it takes away is %d times in %s", m.name, n, m.file)
		}
	}
}
