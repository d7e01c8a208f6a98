package harness

import (
	"errors"
	"fmt"
)

// The variables that choose the servers of the tests.
const (
	EnvServers     = "HOLDFAST_TEST_SERVERS"      // env, docker or local; else the first that is there
	EnvRedisURL    = "HOLDFAST_TEST_REDIS_URL"    // of servers that run already
	EnvDatabaseURL = "HOLDFAST_TEST_DATABASE_URL" // its role creates databases
)

// source is where the servers of the tests come from.
type source string

const (
	fromEnv    source = "env"
	fromDocker source = "docker"
	fromLocal  source = "local"
)

// choose chooses the source by the environment; docker and local tell what is
// wrong with that source, nil meaning that it can be used, and are asked only
// where their answer matters.
func choose(getenv func(string) string, docker, local func() error) (source, error) {
	redisURL, databaseURL := getenv(EnvRedisURL), getenv(EnvDatabaseURL)
	switch forced := source(getenv(EnvServers)); forced {
	case fromEnv:
		if redisURL == "" || databaseURL == "" {
			return "", fmt.Errorf("%s=env needs both %s and %s", EnvServers, EnvRedisURL, EnvDatabaseURL)
		}
		return fromEnv, nil
	case fromDocker:
		if err := docker(); err != nil {
			return "", fmt.Errorf("%s=docker: %w", EnvServers, err)
		}
		return fromDocker, nil
	case fromLocal:
		if err := local(); err != nil {
			return "", fmt.Errorf("%s=local: %w", EnvServers, err)
		}
		return fromLocal, nil
	case "":
	default:
		return "", fmt.Errorf("%s is %q: want env, docker or local", EnvServers, forced)
	}
	switch {
	case redisURL != "" && databaseURL != "":
		return fromEnv, nil
	case redisURL != "":
		return "", fmt.Errorf("%s is set but %s is not: set both or neither", EnvRedisURL, EnvDatabaseURL)
	case databaseURL != "":
		return "", fmt.Errorf("%s is set but %s is not: set both or neither", EnvDatabaseURL, EnvRedisURL)
	}
	noDocker := docker()
	if noDocker == nil {
		return fromDocker, nil
	}
	noLocal := local()
	if noLocal == nil {
		return fromLocal, nil
	}
	return "", fmt.Errorf("no servers to test with: start Docker, set %s and %s, or install them: %w",
		EnvRedisURL, EnvDatabaseURL, errors.Join(noLocal, noDocker))
}
