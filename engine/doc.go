// Package engine is the reservation engine of Holdfast over Redis.
//
// It opens drops, holds units of them for people for a short time, sells a
// held unit or gives it back, and never sells one twice. Every change is one
// atomic Lua script (package lua); Redis's own clock decides every deadline.
// What ends a hold (purchase, cancel, lapse) is written by the same script to
// a ledger stream, from which package persist brings it to Postgres.
//
// The package knows no HTTP and no SQL and may be used as a library:
//
//	e, err := engine.New(engine.Config{Redis: client})
//	if err != nil { … }
//	if err := e.Start(ctx); err != nil { … }
//	defer e.Stop()
//
//	err = e.Open(ctx, engine.Drop{ID: 7, Hold: time.Minute, Sizes: []engine.SizeStock{{Stock: 100}}})
//	hold, err := e.Reserve(ctx, engine.ReserveRequest{Drop: 7, User: 42})
//	receipt, err := e.Purchase(ctx, hold.ID)
package engine
