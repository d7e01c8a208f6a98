//go:build !linux

package fault

import "errors"

func smallDisk() (dir string, err error) { return "", errors.ErrUnsupported }

func removeDisk(string) error { return errors.ErrUnsupported }
