//go:build race

package persist_test

// slowdown is what the race detector costs where a test has a bound in time.
const slowdown = 12
