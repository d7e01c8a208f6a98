// Package fair keeps one caller from taking what is there for all: it says who
// a client is behind proxies, how often an address or a person may call, how
// many connections an address may have, and asks a verifier about challenges.
//
// Everything here is of one process, and bounded. What has to be right over all
// instances (holds at once, cool-downs) is the engine's.
package fair
