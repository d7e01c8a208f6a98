package harness

import (
	"errors"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	absent := errors.New("absent")
	both := map[string]string{EnvRedisURL: "redis://h", EnvDatabaseURL: "postgres://h"}
	with := func(forced string, more map[string]string) map[string]string {
		env := map[string]string{EnvServers: forced}
		for k, v := range more {
			env[k] = v
		}
		return env
	}
	for name, c := range map[string]struct {
		env           map[string]string
		docker, local error
		want          source
		wantErr       string
	}{
		"both URLs win over all":        {env: both, want: fromEnv},
		"Docker before local":           {want: fromDocker},
		"local without Docker":          {docker: absent, want: fromLocal},
		"Docker without local":          {local: absent, want: fromDocker},
		"nothing":                       {docker: absent, local: absent, wantErr: "install them"},
		"only Redis's URL":              {env: map[string]string{EnvRedisURL: "redis://h"}, wantErr: EnvDatabaseURL + " is not"},
		"only the database's URL":       {env: map[string]string{EnvDatabaseURL: "postgres://h"}, wantErr: EnvRedisURL + " is not"},
		"forced local":                  {env: with("local", both), want: fromLocal},
		"forced local, absent":          {env: with("local", nil), local: absent, wantErr: "local: absent"},
		"forced docker":                 {env: with("docker", both), want: fromDocker},
		"forced docker, absent":         {env: with("docker", nil), docker: absent, wantErr: "docker: absent"},
		"forced env":                    {env: with("env", both), want: fromEnv},
		"forced env without URLs":       {env: with("env", nil), wantErr: "needs both"},
		"forced to what does not exist": {env: with("podman", nil), wantErr: `"podman"`},
	} {
		t.Run(name, func(t *testing.T) {
			getenv := func(name string) string { return c.env[name] }
			got, err := choose(getenv, func() error { return c.docker }, func() error { return c.local })
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if (err == nil) != (c.wantErr == "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
				t.Errorf("got error %v, want %q", err, c.wantErr)
			}
		})
	}
}

func TestThrough(t *testing.T) {
	const addr = "127.0.0.1:9"
	for raw, want := range map[string][3]string{
		"redis://127.0.0.1:6380/0":                {"tcp", "127.0.0.1:6380", "redis://127.0.0.1:9/0"},
		"redis://:pw@h/2":                         {"tcp", "h:6379", "redis://:pw@127.0.0.1:9/2"},
		"unix:///a/redis.sock":                    {"unix", "/a/redis.sock", "redis://127.0.0.1:9/"},
		"unix:///a/redis.sock?db=3":               {"unix", "/a/redis.sock", "redis://127.0.0.1:9/3"},
		"postgres://u:p@h:5433/d?sslmode=disable": {"tcp", "h:5433", "postgres://u:p@127.0.0.1:9/d?sslmode=disable"},
		"postgres://u@/d?host=/run&port=5432":     {"unix", "/run/.s.PGSQL.5432", "postgres://u@127.0.0.1:9/d"},
	} {
		network, upstream, proxied, err := through(raw, addr)
		if got := [3]string{network, upstream, proxied}; err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", raw, got, err, want)
		}
	}
	if _, _, _, err := through("http://h", addr); err == nil {
		t.Error("http was taken")
	}
}
