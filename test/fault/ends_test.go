package fault

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/holdfast/holdfast/test/harness"
)

// TestFalseReports tells a report of what Postgres had from one that came first.
func TestFalseReports(t *testing.T) {
	t.Parallel()
	w := &world{t: t, own: harness.Own(t, harness.OwnOptions{PostgresSettings: postgresSettings()})}
	var err error
	if w.db, err = pgxpool.New(t.Context(), w.own.DatabaseURL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.db.Close)
	for _, statement := range []string{
		`INSERT INTO users (username) VALUES ('buyer')`,
		`INSERT INTO drops (name, price_minor, image_url, total_stock, sized, start_time, hold_ms, limit_per_customer)
			VALUES ('Drop', 1, '', 9, false, now(), 1000, 0)`,
		`INSERT INTO drop_sizes (drop_id, size, position, total_stock) SELECT id, '', 0, 9 FROM drops`,
		`INSERT INTO purchases SELECT i, d.id, u.id, '', '', now() FROM generate_series(1, 4) AS i, drops AS d, users AS u`,
		// 1 and 2 are found lost afterwards, 3 had been before; 5 was never bought.
		`INSERT INTO lost_work SELECT r.id, r.kind, d.id, u.id, '', now(), now(), NULL, 'test', now() + r.after
			FROM drops AS d, users AS u, (VALUES (1, 'purchase', interval '1 minute'), (2, 'hold', '1 minute'),
				(3, 'hold', '-1 minute'), (4, 'cancel', '1 minute'), (5, 'purchase', '1 minute')) AS r (id, kind, after)`,
	} {
		if _, err := w.db.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	var drop int64
	if err := w.db.QueryRow(t.Context(), "SELECT id FROM drops").Scan(&drop); err != nil {
		t.Fatal(err)
	}
	if got, err := w.falseReports(t.Context(), drop); err != nil || !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("%v, %v; want 1 and 2", got, err)
	}
}
