package persist

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Inspection is what a look at Postgres found, for who checks a deployment.
type Inspection struct {
	// Version is the server's as a number, 150004 for 15.4, and VersionText as
	// it writes it.
	Version     int
	VersionText string
	// Clock is Postgres's time, Asked this process's in the middle of that call,
	// and Trip how long the call took.
	Clock, Asked time.Time
	Trip         time.Duration
	// Schema is the newest migration that was run, 0 for none, and WantSchema
	// the newest of this version.
	Schema, WantSchema int64
	// MissingRights are the Rights that the role does not have, such as "INSERT
	// on purchases"; tables that are not there are left out.
	MissingRights []string
	// Role is who the connection belongs to, Superuser whether it may do all,
	// Owner whether it owns tables of Holdfast's and could drop them.
	Role             string
	Superuser, Owner bool
	// ReadOnly tells a standby, or a database that takes no writes.
	ReadOnly bool
	// MaxConnections is how many the server takes; MaxOfPool of them are this
	// process's.
	MaxConnections, MaxOfPool int
}

// Inspect looks at Postgres and changes nothing.
func (s *Store) Inspect(ctx context.Context) (Inspection, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	found := Inspection{MaxOfPool: int(s.pool.Config().MaxConns)}
	var err error
	if found.WantSchema, err = newestMigration(); err != nil {
		return found, err
	}
	if err := s.pool.Ping(ctx); err != nil { // so that the call below takes no time to connect
		return found, wrap("ping postgres", err)
	}
	before := time.Now()
	err = s.pool.QueryRow(ctx, `
		SELECT clock_timestamp(), current_setting('server_version_num')::int, current_setting('server_version'),
			current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
			pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool,
			current_setting('max_connections')::int,
			EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('purchases') AND pg_has_role(relowner, 'USAGE'))`,
	).Scan(&found.Clock, &found.Version, &found.VersionText, &found.Role, &found.Superuser,
		&found.ReadOnly, &found.MaxConnections, &found.Owner)
	if err != nil {
		return found, wrap("look at postgres", err)
	}
	found.Trip = time.Since(before)
	found.Asked = before.Add(found.Trip / 2)

	err = s.pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+versionTable+` WHERE is_applied`).Scan(&found.Schema)
	const undefinedTable, insufficientPrivilege = "42P01", "42501"
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == undefinedTable || pg.Code == insufficientPrivilege) {
		err = nil // nothing was migrated; or the rights below say what is missing
		if pg.Code == insufficientPrivilege {
			found.Schema = -1
		}
	}
	if err != nil {
		return found, wrap("look at the migrations", err)
	}
	found.MissingRights, err = s.missingRights(ctx)
	return found, wrap("look at the rights", err)
}

func (s *Store) missingRights(ctx context.Context) ([]string, error) {
	var tables, privileges []string
	for _, r := range Rights() {
		for _, p := range r.Privileges {
			tables, privileges = append(tables, r.Table), append(privileges, p)
		}
	}
	rows, err := s.pool.Query(ctx, `
		SELECT privilege || ' on ' || name FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS r (name, privilege, n)
		WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(to_regclass(name), privilege) ORDER BY n`, tables, privileges)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// newestMigration is the greatest number that an embedded migration begins with.
func newestMigration() (newest int64, err error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0, fmt.Errorf("embedded migrations: %w", err)
	}
	for _, name := range names {
		digits, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		number, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("embedded migration %s: %w", name, err)
		}
		newest = max(newest, number)
	}
	return newest, nil
}
