package fault

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// smallDisk makes a file system of a few megabytes, with an empty folder
// "space" in it that Postgres may use.
func smallDisk() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "holdfast-disk-"); err != nil {
		return "", err
	}
	if err = syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m,mode=755"); err != nil {
		return "", errors.Join(err, os.Remove(dir))
	}
	space := filepath.Join(dir, "space")
	return dir, errors.Join(os.Mkdir(space, 0o700), ownedByPostgres(space))
}

func removeDisk(dir string) error {
	return errors.Join(syscall.Unmount(dir, syscall.MNT_DETACH), os.Remove(dir))
}
