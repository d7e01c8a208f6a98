// Package sim plays the engine's rules as a deterministic model: scripts on a
// Redis that restarts, forgets and fails over, writers to Postgres, rebuilds,
// buyers who repeat what got no answer. One seed is one world: a scheduler
// takes every step of every actor in an order that the seed decides, with a
// clock of its own, and the promises are checked after each.
//
// A real campaign (test/fault) is near the product and slow; this is far from
// it and sees a hundred thousand worlds a minute. What holds it to the product
// are the tests that run the model's scripts and the real ones side by side,
// and those that switch off one guard of the model after another and want to
// see a promise break.
package sim
