package persist

// TableRights are the privileges that an instance needs on one table.
type TableRights struct {
	Table      string
	Privileges []string
}

// Rights are what the Postgres role of an instance needs, table by table, and
// nothing more: `holdfast doctor` checks them, and docs/OPERATIONS.md grants them. A
// migration that adds a table adds its line here and there.
func Rights() []TableRights {
	add, change := []string{"SELECT", "INSERT"}, []string{"SELECT", "INSERT", "UPDATE"}
	return []TableRights{
		{"users", add},
		{"drops", []string{"SELECT", "INSERT", "UPDATE", "DELETE"}}, // DELETE: one that could not be opened
		{"drop_sizes", change},
		{"reservations", add},
		{"purchases", add},
		{"refused_purchases", add},
		{"lost_work", add},
		{"epochs", change},
		{"subjects", add},
		{"drop_changes", change},
		{"admin_log", change}, // UPDATE: how an act ended
		{"webhook_outbox", []string{"SELECT", "INSERT", "UPDATE", "DELETE"}}, // UPDATE: to lock what is thrown away
		{"webhook_deliveries", change},
		{versionTable, []string{"SELECT"}},
	}
}

// versionTable is where the migrations note how far they are.
const versionTable = "goose_db_version"
