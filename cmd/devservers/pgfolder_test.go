package devservers

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sealed is a folder that the user postgres cannot enter. What data folders
// in it keep elsewhere is removed with it.
func sealed(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(folder(t)) // as the notes of owners have it
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		notes, err := filepath.Glob(filepath.Join(elsewhere, "*", "owner"))
		if err != nil {
			t.Error(err)
		}
		for _, note := range notes {
			if owner, err := os.ReadFile(note); err == nil && strings.HasPrefix(string(owner), dir+"/") {
				if err := os.RemoveAll(filepath.Dir(note)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return dir
}

// linked makes a data folder that holds value and whose Postgres has its
// files elsewhere, which it returns.
func linked(t *testing.T, dir, value string) string {
	t.Helper()
	s := start(t, Config{Dir: dir})
	write(t, s, value)
	stop(t, s)
	if away := s.PostgresElsewhere(); away != "" {
		return away
	}
	// An ordinary user's Postgres can enter all of its folders.
	away := filepath.Join(folder(t), "away")
	if err := errors.Join(os.Rename(s.Postgres.Dir(), away), os.Symlink(away, s.Postgres.Dir())); err != nil {
		t.Fatal(err)
	}
	return away
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v %s", err, out)
	}
}

func TestFolderThatPostgresCannotEnter(t *testing.T) {
	dir := filepath.Join(sealed(t), "data")
	s := start(t, Config{Dir: dir})
	away := s.PostgresElsewhere()
	if asRoot := os.Geteuid() == 0; asRoot != strings.HasPrefix(away, elsewhere+"/") {
		t.Fatalf("root: %v, postgres keeps its files in %q", asRoot, s.Postgres.Dir())
	}
	write(t, s, "kept")
	stop(t, s)
	s = start(t, Config{Dir: dir})
	read(t, s, "kept")
	if s.PostgresElsewhere() != away {
		t.Errorf("files moved from %q to %q", away, s.PostgresElsewhere())
	}
}

func TestADeletedFoldersNameBeginsEmpty(t *testing.T) {
	dir := filepath.Join(sealed(t), "data")
	away := linked(t, dir, "old")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s := start(t, Config{Dir: dir})
	exec1(t, s, "CREATE TABLE t (v text)") // fails where there is one
	if s.Postgres.Dir() == away {
		t.Errorf("the new data folder has the old one's files %s", away)
	}
	if _, err := os.Stat(filepath.Join(away, "data", "PG_VERSION")); err != nil {
		t.Errorf("the old files were touched: %v", err)
	}
}

// A data folder that was moved keeps its data, whatever becomes of its old name.
func TestMovedFolder(t *testing.T) {
	parent := sealed(t)
	a, b := filepath.Join(parent, "a"), filepath.Join(parent, "b")
	linked(t, a, "moved")
	if err := os.Rename(a, b); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		first := start(t, Config{Dir: a})
		write(t, first, "new")
		second := start(t, Config{Dir: b})
		read(t, second, "moved")
		read(t, first, "new")
		stop(t, first)
		stop(t, second)
	}
}

func TestCopiedFolderIsRefused(t *testing.T) {
	parent := sealed(t)
	a, b := filepath.Join(parent, "a"), filepath.Join(parent, "b")
	linked(t, a, "first")
	s := start(t, Config{Dir: a})
	copyFolder(t, a, b)

	if _, err := Start(t.Context(), Config{Dir: b}); !errors.Is(err, ErrInUse) {
		t.Errorf("beside the first: got %v, want ErrInUse", err)
	}
	read(t, s, "first")
	select {
	case err := <-s.Died():
		t.Errorf("the copy stopped a server of the first: %v", err)
	default:
	}
	stop(t, s)

	_, err := Start(t.Context(), Config{Dir: b})
	if err == nil || !strings.Contains(err.Error(), b+" is a copy of "+a) || strings.Contains(err.Error(), "\n") {
		t.Errorf("after the first: got %v, want one line that names both", err)
	}
	s = start(t, Config{Dir: a})
	read(t, s, "first")
	stop(t, s)

	if err := os.RemoveAll(a); err != nil {
		t.Fatal(err)
	}
	read(t, start(t, Config{Dir: b}), "first")
}

// Where Postgres's files are in the data folder a copy has its own.
func TestCopyWithTheFiles(t *testing.T) {
	parent := folder(t)
	a, b := filepath.Join(parent, "a"), filepath.Join(parent, "b")
	s := start(t, Config{Dir: a})
	write(t, s, "first")
	stop(t, s)
	s = start(t, Config{Dir: a, RedisOnly: true})
	copyFolder(t, a, b) // its note names the running Redis of the first

	second := start(t, Config{Dir: b})
	read(t, second, "first")
	write(t, second, "second")
	if got, err := dialRedis(t, s).Get(t.Context(), "k").Result(); err != nil || got != "first" {
		t.Errorf("the first's redis holds %q, %v", got, err)
	}
	stop(t, s)
	read(t, start(t, Config{Dir: a}), "first")
}
