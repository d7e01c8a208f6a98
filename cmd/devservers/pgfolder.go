package devservers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// elsewhere holds the Postgres files of data folders that the user postgres
// cannot enter, each in a folder of a random name that only the data folder's
// link tells: a path may come to name another data folder, a link moves along.
const elsewhere = "/var/lib/holdfast"

// postgresFolder is where Postgres keeps its files, taken for this process:
// the folder postgres of the data folder, which is a link where as cannot
// enter the data folder.
func (s *Servers) postgresFolder(as *syscall.Credential) (string, error) {
	link := filepath.Join(s.dir, "postgres")
	dir, err := filepath.EvalSymlinks(link)
	if errors.Is(err, fs.ErrNotExist) {
		dir, err = s.newPostgresFolder(link, as)
	}
	if err != nil {
		return "", err
	}
	if ok, err := canEnter(dir, as); !ok {
		return "", errors.Join(fmt.Errorf("the user it runs as cannot enter %s, where its data is", dir), err)
	}
	return dir, s.claim(dir)
}

func (s *Servers) newPostgresFolder(link string, as *syscall.Credential) (string, error) {
	ok, err := canEnter(s.dir, as)
	if err != nil {
		return "", err
	}
	// Only a link to nowhere: a folder would have been found.
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if ok {
		return link, privateFolder(link, as)
	}
	if err := os.MkdirAll(elsewhere, 0o711); err != nil {
		return "", err
	}
	away, err := os.MkdirTemp(elsewhere, "postgres-")
	if err != nil {
		return "", err
	}
	if err := privateFolder(away, as); err != nil {
		return "", err
	}
	return away, os.Symlink(away, link)
}

// claim takes Postgres's folder for this process and notes in it the data
// folder that it belongs to. A copy of a data folder has a copy of its link,
// so the folder may be another's: that one keeps it while it is there and
// links to it. Otherwise it was moved, or deleted, and this one takes over.
func (s *Servers) claim(dir string) error {
	lock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	s.locks = append(s.locks, lock)
	note := filepath.Join(dir, "owner")
	raw, err := os.ReadFile(note)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read whose %s is: %w", dir, err)
	}
	owner := string(raw)
	if owner == s.dir {
		return nil
	}
	if owner != "" && !sameFile(owner, s.dir) && sameFile(filepath.Join(owner, "postgres"), dir) {
		return fmt.Errorf("%s is a copy of %s, whose database in %s they cannot share: "+
			"use %[2]s, or delete it to use %[1]s", s.dir, owner, dir)
	}
	// Under another name first: a note cut short would make it nobody's.
	if err := os.WriteFile(note+".new", []byte(s.dir), 0o600); err != nil {
		return fmt.Errorf("note whose %s is: %w", dir, err)
	}
	if err := os.Rename(note+".new", note); err != nil {
		return fmt.Errorf("note whose %s is: %w", dir, err)
	}
	return nil
}

// sameFile tells whether both paths, links followed, lead to one file.
func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}
