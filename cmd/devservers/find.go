package devservers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ErrMissing is wrapped by errors about servers that are not installed. The
// whole error is one line that says what to install.
var ErrMissing = errors.New("not installed")

const install = "install with `apt-get install redis-server postgresql`, " +
	"`dnf install redis postgresql-server` or `brew install redis postgresql@17`"

// places are globs of the folders where packages put the servers' binaries
// outside of PATH: Debian, RHEL and Homebrew keep each Postgres in its own.
var places = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
	"/opt/homebrew/bin",
	"/home/linuxbrew/.linuxbrew/bin",
	"/usr/local/bin",
	"/usr/bin",
	"/usr/sbin",
}

// Binaries are the absolute paths of the servers' programs.
type Binaries struct {
	Redis string // redis-server, or valkey-server where that is what there is

	// Postgres are the folders that hold postgres, initdb and pg_ctl, the
	// preferred one first.
	Postgres []string
}

// Find looks for the servers in the folders of path, or, where path is nil, in
// those of PATH and then where packages put them, newest Postgres first. It
// returns ErrMissing, wrapped, when one of them is nowhere.
func Find(path []string) (Binaries, error) {
	if path == nil {
		path = append(filepath.SplitList(os.Getenv("PATH")), packageFolders()...)
	}
	b, missing := Binaries{}, []string{}
	for _, name := range []string{"redis-server", "valkey-server"} {
		for _, dir := range path {
			if b.Redis == "" && executable(dir, name) {
				b.Redis = filepath.Join(dir, name)
			}
		}
	}
	for _, dir := range path {
		if executable(dir, "postgres") && executable(dir, "initdb") && executable(dir, "pg_ctl") {
			b.Postgres = append(b.Postgres, dir)
		}
	}
	if b.Redis == "" {
		missing = append(missing, "redis-server")
	}
	if b.Postgres == nil {
		missing = append(missing, "PostgreSQL (postgres, initdb, pg_ctl)")
	}
	if len(missing) > 0 {
		return b, fmt.Errorf("%s %w: %s", strings.Join(missing, " and "), ErrMissing, install)
	}
	return b, nil
}

func packageFolders() []string {
	var all []string
	for _, glob := range places {
		dirs, err := filepath.Glob(glob)
		if err != nil {
			continue // only a malformed pattern fails; these are constants
		}
		slices.SortStableFunc(dirs, func(a, b string) int { return versionIn(b) - versionIn(a) })
		all = append(all, dirs...)
	}
	return all
}

// versionIn reads the major version out of a folder such as
// /usr/lib/postgresql/15/bin; 0 where there is none.
func versionIn(dir string) int {
	name := filepath.Base(filepath.Dir(dir))
	digits := name[strings.LastIndexFunc(name, func(r rune) bool { return r < '0' || r > '9' })+1:]
	v, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return v
}

func executable(dir, name string) bool {
	info, err := os.Stat(filepath.Join(dir, name))
	return err == nil && filepath.IsAbs(dir) && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// postgresFor picks the folder whose Postgres can open the given data: the
// one of the same major version, or the first for a folder not yet made.
func (b Binaries) postgresFor(data string) (string, error) {
	want, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return b.Postgres[0], nil
	}
	if err != nil {
		return "", fmt.Errorf("read the version of %s: %w", data, err)
	}
	major := strings.TrimSpace(string(want))
	for _, dir := range b.Postgres {
		out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
		// "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"
		if fields := strings.Fields(string(out)); err == nil && len(fields) > 2 {
			if got, _, _ := strings.Cut(fields[2], "."); got == major {
				return dir, nil
			}
		}
	}
	return "", fmt.Errorf("PostgreSQL %s, which made %s, is %w", major, data, ErrMissing)
}
