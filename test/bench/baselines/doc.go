// Command baselines serves Holdfast's API the ways that people would pick
// instead, each written as strongly as it allows:
//
//	constant   answers without looking: what HTTP and JSON alone allow
//	rowlock    a transaction a request, SELECT … FOR UPDATE on the drop
//	statement  one statement a request
//	grouped    what waits goes together in one statement
//
// All but constant keep everything in Postgres, commit before they answer, and
// give lapsed holds back. They serve what a buyer needs and no more: no sizes, no
// limits, no Idempotency-Key, no live feed. It exists to be measured beside
// Holdfast (package bench).
package main
