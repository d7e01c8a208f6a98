package persist_test

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/persist"
)

// TestRightsNameEveryTable has a migration that adds a table say what an instance
// needs of it.
func TestRightsNameEveryTable(t *testing.T) {
	e := newEnv(t)
	rows, err := e.sql.Query(t.Context(), `SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`)
	must(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	named := make([]string, 0, len(persist.Rights()))
	for _, r := range persist.Rights() {
		named = append(named, r.Table)
	}
	slices.Sort(named)
	if !slices.Equal(tables, named) {
		t.Errorf("the tables are %q, Rights has %q: add the line of each that is missing there and to docs/OPERATIONS.md", tables, named)
	}
}

// TestInspect finds the schema that Migrate makes to be the one it wants.
func TestInspect(t *testing.T) {
	e := newEnv(t)
	found, err := e.store.Inspect(t.Context())
	must(t, err)
	if found.Schema == 0 || found.Schema != found.WantSchema || len(found.MissingRights) > 0 || found.ReadOnly || found.Version < 140_000 {
		t.Errorf("%+v", found)
	}
}
