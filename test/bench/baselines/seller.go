package main

import (
	"context"
	"errors"
	"time"
)

// seller holds and sells units: what the kinds differ in.
type seller interface {
	// reserve holds a unit: errOutOfStock, errNotStarted.
	reserve(ctx context.Context, drop drop, user int64) (hold, error)
	// purchase sells the unit that is held. A repeat gets the same receipt:
	// errExpired, errNotFound.
	purchase(ctx context.Context, id int64) (receipt, error)
}

// drop is what never changes of a drop, and so is known in process.
type drop struct {
	id    int64
	start time.Time
}

// hold is a unit that is held.
type hold struct {
	id, drop, user    int64
	created, deadline time.Time
}

// receipt is a purchase.
type receipt struct {
	id, drop, user int64
	at             time.Time
	repeated       bool
}

var (
	errOutOfStock = errors.New("out of stock")
	errNotStarted = errors.New("drop has not started")
	errExpired    = errors.New("reservation expired")
	errNotFound   = errors.New("not found")
)
