package lua

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAllScriptsAreLoaded(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.lua")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts found", err)
	}
	known := map[string]bool{}
	for _, s := range all() {
		known[s.source] = true
	}
	for _, f := range files {
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !known[string(source)] {
			t.Errorf("%s is not loaded", f)
		}
	}
	if len(known) != len(files) {
		t.Errorf("%d scripts are loaded, there are %d files", len(known), len(files))
	}
}
