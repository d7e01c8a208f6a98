package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

// Every flag that holds a secret has the tag secret:"". Such a flag can also be
// given as a file, whose path is in <NAME>_FILE: that is how Docker, Kubernetes and
// systemd hand secrets over, and what a process's environment shows is then a path.

// secretSuffix names the variable with the path.
const secretSuffix = "_FILE"

// maxSecret is the size in bytes of the longest secret that is read.
const maxSecret = 64 << 10

// secretFiles reads the secrets that are given as files. What is on the command line
// comes first, as it does before the environment.
func secretFiles(lookup func(string) (string, bool)) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if !isSecret(flag.Value) {
			return nil, nil //nolint:nilnil // to kong this says that the flag is not resolved here
		}
		for _, name := range flag.Envs {
			path, ok := lookup(name + secretSuffix)
			if !ok || path == "" {
				continue
			}
			if value, both := lookup(name); both && value != "" {
				return nil, fmt.Errorf("%s and %s%s are both set: keep one", name, name, secretSuffix)
			}
			secret, err := readSecret(path)
			if err != nil {
				return nil, fmt.Errorf("%s%s: %w", name, secretSuffix, err)
			}
			return secret, nil
		}
		return nil, nil //nolint:nilnil // as above
	})
}

func isSecret(v *kong.Value) bool { return v.Tag != nil && v.Tag.Has("secret") && len(v.Tag.Envs) > 0 }

// readSecret is the file's content without the newline at its end. Its errors have
// the path, never the content.
func readSecret(path string) (string, error) {
	f, err := os.Open(path) //nolint:gosec // the operator's own file
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(content) > maxSecret {
		return "", fmt.Errorf("%s has more than %d bytes", path, maxSecret)
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if secret == "" {
		return "", errors.New(path + " is empty")
	}
	return secret, nil
}

// helpOfSecrets tells of the file in the help of a flag.
func helpOfSecrets(v *kong.Value) string {
	help := kong.DefaultHelpValueFormatter(v)
	if isSecret(v) {
		help += " Or $" + v.Tag.Envs[0] + secretSuffix + ", the path of a file that has it."
	}
	return help
}
