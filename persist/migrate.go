package persist

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// How often, and for how many tries, a process asks for the migration lock
// that another one holds: five minutes in all.
const (
	lockEverySeconds = 1
	lockTries        = 300
)

// Migrate brings the database to this version's schema. Any number of
// processes may run it at once: one migrates, the others wait for it.
// It needs a direct connection or a session-pooled one, since it holds an
// advisory lock. Returns ErrUnavailable when Postgres does not answer.
func Migrate(ctx context.Context, databaseURL string) error {
	cfg, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return fmt.Errorf("database URL: %w", err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("embedded migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(lockEverySeconds, lockTries))
	if err != nil {
		return fmt.Errorf("migration lock: %w", err)
	}
	db := stdlib.OpenDB(*cfg.ConnConfig)
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		_ = db.Close()
		return fmt.Errorf("read migrations: %w", err)
	}
	_, err = provider.Up(ctx)
	if closeErr := provider.Close(); err == nil {
		err = closeErr
	}
	return wrap("migrate", err)
}
