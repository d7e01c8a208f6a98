package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"go.yaml.in/yaml/v3"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/test/harness"
)

// What a container of Holdfast may do is written in files that need a Docker engine to
// be tried; that they say it is checked here without one.

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestImageHasNoRights(t *testing.T) {
	t.Parallel()
	stages := strings.Split(read(t, "Dockerfile"), "\nFROM ")
	last := stages[len(stages)-1]
	if base, _, _ := strings.Cut(last, "\n"); !regexp.MustCompile(`^gcr\.io/distroless/static-[a-z0-9]+:nonroot$`).MatchString(base) {
		t.Errorf("the image is made from %s", base)
	}
	users := regexp.MustCompile(`(?m)^USER (.*)$`).FindAllStringSubmatch(last, -1)
	if len(users) != 1 || !regexp.MustCompile(`^[1-9][0-9]+:[1-9][0-9]+$`).MatchString(users[0][1]) {
		t.Errorf("its user is %q", users)
	}
	if regexp.MustCompile(`(?im)^(ADD|RUN|VOLUME|.*(password|token|secret)=)`).MatchString(last) {
		t.Errorf("more than the binary is in it:\n%s", last)
	}
	if !regexp.MustCompile(`(?m)^ENTRYPOINT \[`).MatchString(last) {
		t.Error("signals would go to a shell")
	}
	// Only what the build reads is sent to it: no secrets, no data.
	var lets []string
	for line := range strings.Lines(read(t, ".dockerignore")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lets = append(lets, line)
		}
	}
	if len(lets) == 0 || lets[0] != "*" {
		t.Errorf(".dockerignore begins with %q, not with *", lets)
	}
	for _, let := range lets {
		if strings.HasPrefix(let, "!.") || strings.HasPrefix(let, "!*") {
			t.Errorf(".dockerignore lets %s in", let)
		}
	}
}

// composed is what is looked at of docker-compose.yml.
type composed struct {
	Services map[string]struct {
		Image       string
		Environment map[string]any
		Secrets     []string
		ReadOnly    bool `yaml:"read_only"`
		Privileged  bool
		Tmpfs       []string
		User        string
		Ports       []string
		Volumes     []string
		CapAdd      []string `yaml:"cap_add"`
		CapDrop     []string `yaml:"cap_drop"`
		SecurityOpt []string `yaml:"security_opt"`
	}
	Secrets map[string]struct{ File string }
}

func compose(t *testing.T) (c composed) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, "docker-compose.yml")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestContainersHaveNoRights(t *testing.T) {
	t.Parallel()
	c := compose(t)
	ours := 0
	for name, s := range c.Services {
		if s.Privileged || len(s.CapAdd) > 0 || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may gain rights", name)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "${HOLDFAST_BIND:-127.0.0.1}:") && !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s is open to the network at %s", name, p)
			}
		}
		if !strings.HasPrefix(s.Image, "holdfast:") {
			continue
		}
		ours++
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.Volumes) > 0 || s.User != "" {
			t.Errorf("%s may write, or has capabilities, or another user than the image's: %+v", name, s)
		}
		for _, mount := range s.Tmpfs {
			for _, option := range []string{"noexec", "nosuid", "nodev", "size="} {
				if !strings.Contains(mount, option) {
					t.Errorf("%s has %s without %s", name, mount, option)
				}
			}
		}
	}
	if ours < 3 {
		t.Errorf("%d services are of Holdfast's image", ours)
	}
}

func TestContainersGetSecretsAsFiles(t *testing.T) {
	t.Parallel()
	c := compose(t)
	used := map[string]bool{}
	for name, s := range c.Services {
		for variable, value := range s.Environment {
			text, _ := value.(string)
			file, isFile := strings.CutPrefix(text, "/run/secrets/")
			switch {
			case strings.HasSuffix(variable, "_FILE"): // Grafana has two underscores
				if !isFile || !slices.Contains(s.Secrets, file) {
					t.Errorf("%s has %s=%s and the secrets %q", name, variable, text, s.Secrets)
				}
			case regexp.MustCompile(`(?i)password|token|secret|_url$`).MatchString(variable), strings.Contains(text, "@"):
				t.Errorf("%s has a secret in its environment: %s", name, variable)
			}
		}
		for _, secret := range s.Secrets {
			used[secret] = true
			if _, ok := c.Secrets[secret]; !ok {
				t.Errorf("%s wants the secret %s, which there is not", name, secret)
			}
		}
	}
	dir := t.TempDir()
	makeSecrets(t, dir)
	for secret, s := range c.Secrets {
		if !used[secret] {
			t.Errorf("nobody uses the secret %s", secret)
		}
		if want := "${HOLDFAST_SECRETS:-./.secrets}/" + secret; s.File != want {
			t.Errorf("the secret %s is %s, want %s", secret, s.File, want)
		}
		if info, err := os.Stat(filepath.Join(dir, secret)); err != nil || info.Size() == 0 || info.Mode().Perm() != 0o644 {
			t.Errorf("secret %s: %v, %v", secret, info, err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others may read the folder: %v, %v", info, err)
	}
}

func makeSecrets(t *testing.T, dir string) {
	t.Helper()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("../../.ci/secrets")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(script, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestSecretsFit has real servers take what is made for those of the containers.
func TestSecretsFit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeSecrets(t, dir)
	secret := func(name string) string {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	password := secret("postgres_password")
	makeSecrets(t, dir)
	if again := secret("postgres_password"); again != password || len(password) < 32 {
		t.Errorf("the password %q became %q", password, again)
	}

	env := harness.Own(t, harness.OwnOptions{RedisArgs: []string{"--aclfile", filepath.Join(dir, "redis_users")}})
	o, err := redis.ParseURL(env.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := redis.ParseURL(secret("redis_url"))
	if err != nil {
		t.Fatal(err)
	}
	nobody := redis.NewClient(o)
	defer func() { _ = nobody.Close() }()
	if err := nobody.Ping(t.Context()).Err(); err != nil {
		t.Errorf("the health check: %v", err)
	}
	if err := nobody.Get(t.Context(), "hf:partitions").Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") {
		t.Errorf("without a password: %v", err)
	}
	o.Username, o.Password, o.MaxRetries, o.Protocol = theirs.Username, theirs.Password, -1, 2
	user := redis.NewClient(o)
	defer func() { _ = user.Close() }()
	e, err := engine.New(engine.Config{Redis: user})
	if err != nil {
		t.Fatal(err)
	}
	if missing, err := e.MissingRights(t.Context()); err != nil || len(missing) > 0 {
		t.Errorf("the user lacks %q, %v", missing, err)
	}

	conn, err := pgx.Connect(t.Context(), env.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	app, err := pgx.ParseConfig(secret("database_url"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // after each update
		if _, err := conn.Exec(t.Context(), secret("grants")); err != nil {
			t.Fatal(err)
		}
	}
	var may bool
	err = conn.QueryRow(t.Context(), "SELECT has_table_privilege($1, 'purchases', 'INSERT') AND NOT has_table_privilege($1, 'purchases', 'DELETE')", app.User).Scan(&may)
	if err != nil || !may {
		t.Errorf("the rights of %s: %v, %v", app.User, may, err)
	}
	if owner, err := pgx.ParseConfig(secret("migrate_url")); err != nil || owner.Password != password || owner.User != "holdfast" {
		t.Errorf("the owner is %+v, %v", owner, err)
	}
}
