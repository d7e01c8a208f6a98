package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

type secretCLI struct {
	Token string `env:"HFTEST_TOKEN,HFTEST_OTHER" secret:"" help:"A secret."`
	Name  string `env:"HFTEST_NAME" help:"None."`
}

// parseSecrets parses args with the environment env, in which the values of plain
// variables count as well.
func parseSecrets(t *testing.T, env map[string]string, args ...string) (secretCLI, error) {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
	var c secretCLI
	k, err := kong.New(&c, kong.Resolvers(secretFiles(os.LookupEnv)), kong.ValueFormatter(helpOfSecrets))
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Parse(args)
	return c, err
}

func TestSecretsFromFiles(t *testing.T) {
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	missing := filepath.Join(t.TempDir(), "missing")
	for name, c := range map[string]struct {
		env   map[string]string
		args  []string
		want  string
		fails string
	}{
		"plain":                        {env: map[string]string{"HFTEST_TOKEN": "plain"}, want: "plain"},
		"file":                         {env: map[string]string{"HFTEST_TOKEN_FILE": file("in the file\n")}, want: "in the file"},
		"only one newline is cut":      {env: map[string]string{"HFTEST_TOKEN_FILE": file(" a\nb \n\n")}, want: " a\nb \n"},
		"of Windows":                   {env: map[string]string{"HFTEST_TOKEN_FILE": file("a\r\n")}, want: "a"},
		"without newline":              {env: map[string]string{"HFTEST_TOKEN_FILE": file("a")}, want: "a"},
		"by another name":              {env: map[string]string{"HFTEST_OTHER_FILE": file("a")}, want: "a"},
		"the command line comes first": {env: map[string]string{"HFTEST_TOKEN_FILE": file("a")}, args: []string{"--token", "b"}, want: "b"},
		"an empty name is none":        {env: map[string]string{"HFTEST_TOKEN_FILE": ""}, want: ""},
		"both":                         {env: map[string]string{"HFTEST_TOKEN": "hush", "HFTEST_TOKEN_FILE": file("hush")}, fails: "both set"},
		"missing":                      {env: map[string]string{"HFTEST_TOKEN_FILE": missing}, fails: "HFTEST_TOKEN_FILE: open " + missing},
		"empty":                        {env: map[string]string{"HFTEST_TOKEN_FILE": file("\n")}, fails: "is empty"},
		"too long":                     {env: map[string]string{"HFTEST_TOKEN_FILE": file(strings.Repeat("hush", maxSecret))}, fails: "has more than"},
		"a folder":                     {env: map[string]string{"HFTEST_TOKEN_FILE": os.TempDir()}, fails: "HFTEST_TOKEN_FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseSecrets(t, c.env, c.args...)
			switch {
			case c.fails == "" && (err != nil || got.Token != c.want):
				t.Errorf("%q, %v; want %q", got.Token, err, c.want)
			case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
				t.Errorf("error %v; want one with %q", err, c.fails)
			case err != nil && strings.Contains(err.Error(), "hush"):
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func TestOnlySecretsComeFromFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "name")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := parseSecrets(t, map[string]string{"HFTEST_NAME_FILE": path}); err != nil || got.Name != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestEverySecretIsTagged has no flag that looks like a secret be one that can
// only be given openly.
func TestEverySecretIsTagged(t *testing.T) {
	k, err := kong.New(new(cli), kong.Resolvers(secretFiles(os.LookupEnv)), kong.ValueFormatter(helpOfSecrets))
	if err != nil {
		t.Fatal(err)
	}
	secrets := 0
	var look func(n *kong.Node)
	look = func(n *kong.Node) {
		for _, f := range n.Flags {
			if isSecret(f.Value) {
				secrets++
				if !strings.Contains(helpOfSecrets(f.Value), f.Envs[0]+"_FILE") {
					t.Errorf("the help of --%s does not tell of the file", f.Name)
				}
				continue
			}
			for _, word := range []string{"token", "secret", "password", "database-url", "redis-url"} {
				if strings.Contains(f.Name, word) && len(f.Envs) > 0 {
					t.Errorf("%s --%s has no tag secret", n.Name, f.Name)
				}
			}
		}
		for _, child := range n.Children {
			look(child)
		}
	}
	look(k.Model.Node)
	if secrets < 2 {
		t.Errorf("%d flags are secrets", secrets)
	}
}
