// Package persist keeps in Postgres what outlives a sale: the catalogue of
// drops, the people, the holds that have ended and the purchases.
//
// Nothing on the reserve path waits for it. The Writer follows the engine's
// ledger and brings every end of a hold to Postgres once, in batches; while
// Postgres is away the ledger waits in Redis and drains afterwards.
//
//	err := persist.Migrate(ctx, url)
//	store, err := persist.Open(persist.Config{URL: url})
//	defer store.Close()
//
//	w, err := persist.NewWriter(persist.WriterConfig{Ledger: e.Ledger(client, "host-1"), Store: store})
//	w.Start()
//	defer w.Stop(ctx)
package persist
