package persist_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast/holdfast/test/harness"
)

// BenchmarkUnnestOrCopy says why the writer hands its batches over as arrays: the
// rows a second that 1,000 at a time come into reservations so, and by COPY into
// a temporary table, which stays for the session, and from there. Every commit
// is synced to disk.
func BenchmarkUnnestOrCopy(b *testing.B) {
	const rows = 1000
	env := harness.Own(b, harness.OwnOptions{PostgresSettings: []string{"fsync=on", "full_page_writes=on", "synchronous_commit=on"}})
	conn, err := pgx.Connect(b.Context(), env.DatabaseURL)
	must(b, err)
	b.Cleanup(func() { _ = conn.Close(context.Background()) })
	for _, statement := range []string{
		`INSERT INTO users (username) VALUES ('ada')`,
		`INSERT INTO drops (name, price_minor, image_url, total_stock, sized, start_time, hold_ms, limit_per_customer)
			VALUES ('Air One', 18000, '', 1, false, now(), 60000, 0)`,
		`CREATE TEMPORARY TABLE staged (id bigint, drop_id integer, user_id bigint, size text, status text,
			created_at timestamptz, deadline timestamptz, ended_at timestamptz) ON COMMIT DELETE ROWS`,
	} {
		_, err := conn.Exec(b.Context(), statement)
		must(b, err)
	}
	const insert = `INSERT INTO reservations (id, drop_id, user_id, size, status, created_at, deadline, ended_at) `
	next, now := int64(0), time.Now().UTC()
	for name, add := range map[string]func(tx pgx.Tx) error{
		"unnest": func(tx pgx.Tx) error {
			ids, drops, users := make([]int64, rows), make([]int64, rows), make([]int64, rows)
			sizes, statuses, times := make([]string, rows), make([]string, rows), make([]time.Time, rows)
			for i := range rows {
				next++
				ids[i], drops[i], users[i], statuses[i], times[i] = next, 1, 1, "completed", now
			}
			_, err := tx.Exec(b.Context(), insert+`
				SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::text[], $5::text[],
					$6::timestamptz[], $7::timestamptz[], $8::timestamptz[]) ORDER BY 1 ON CONFLICT (id) DO NOTHING`,
				ids, drops, users, sizes, statuses, times, times, times)
			return err
		},
		"copy": func(tx pgx.Tx) error {
			columns := []string{"id", "drop_id", "user_id", "size", "status", "created_at", "deadline", "ended_at"}
			_, err := tx.CopyFrom(b.Context(), pgx.Identifier{"staged"}, columns, pgx.CopyFromSlice(rows, func(int) ([]any, error) {
				next++
				return []any{next, int32(1), int64(1), "", "completed", now, now, now}, nil
			}))
			if err == nil {
				_, err = tx.Exec(b.Context(), insert+`SELECT * FROM staged ORDER BY 1 ON CONFLICT (id) DO NOTHING`)
			}
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				must(b, pgx.BeginFunc(b.Context(), conn, add))
			}
			b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
