package persist_test

import (
	"errors"
	"net/url"
	"sync"
	"testing"

	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

func TestMigrateAnEmptyDatabaseByManyAtOnceAndAgain(t *testing.T) {
	e := newEnv(t)
	_, err := e.sql.Exec(t.Context(), `DROP SCHEMA public CASCADE; CREATE SCHEMA public`)
	must(t, err)

	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := persist.Migrate(t.Context(), e.DatabaseURL); err != nil {
				t.Errorf("migrate at once with others: %v", err)
			}
		})
	}
	all.Wait()
	must(t, persist.Migrate(t.Context(), e.DatabaseURL))
	if n := e.count(`SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public' AND table_name IN
		('users', 'drops', 'drop_sizes', 'reservations', 'purchases', 'refused_purchases')`); n != 6 {
		t.Errorf("%d of 6 tables", n)
	}
}

func TestMigrateWithoutPostgres(t *testing.T) {
	e := newEnv(t)
	proxy := harness.NewProxy(t, e.DatabaseURL)
	proxy.Cut()
	if err := persist.Migrate(t.Context(), proxy.URL()); !errors.Is(err, persist.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
}

func TestOpenErrors(t *testing.T) {
	for _, u := range []string{"", "postgres://%zz", "postgres://localhost/db?pool_max_conns=none"} {
		if _, err := persist.Open(persist.Config{URL: u}); err == nil {
			t.Errorf("Open(%q) succeeded", u)
		}
	}
}

func TestCallsToAnAbsentOrUnwillingPostgres(t *testing.T) {
	e := newEnv(t)
	missing, err := url.Parse(e.DatabaseURL)
	must(t, err)
	missing.Path = "/no_such_database"
	for name, u := range map[string]string{"no server": "postgres://127.0.0.1:1/x", "no database": missing.String()} {
		store, err := persist.Open(persist.Config{URL: u})
		must(t, err)
		if _, err := store.ListDrops(t.Context(), persist.ListQuery{}); !errors.Is(err, persist.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
		store.Close()
	}
}
