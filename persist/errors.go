package persist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Test with errors.Is.
var (
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable: Postgres did not answer in time, or refused for a
	// reason of its own (starting, stopping, no connection left).
	ErrUnavailable = errors.New("postgres unavailable")
	// ErrInvalid: Postgres refused a value, such as a text with a NUL byte.
	ErrInvalid = errors.New("value refused by postgres")
)

// soldGuard is the CHECK that no size is sold more often than it has units.
const soldGuard = "drop_sizes_sold_within_stock"

// wrap says what failed and gives the error its sentinel. A caller's own
// cancellation stays context.Canceled.
func wrap(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", what, err)
	case isStale(err):
		return fmt.Errorf("%s: %w: %w", what, ErrStaleEpoch, err)
	case unavailable(err):
		return fmt.Errorf("%s: %w: %w", what, ErrUnavailable, err)
	case refusesData(err):
		return fmt.Errorf("%s: %w: %w", what, ErrInvalid, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// unavailable tells an absent or unwilling Postgres from a wrong question.
func unavailable(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connect) {
		return true // also a refused log-in: none of the caller's doing
	}
	if class := errorClass(err); class != "" {
		switch class {
		case "08", // connection exception
			"25", // transaction state: a read-only standby, an idle timeout
			"40", // serialization failure, deadlock
			"53", // insufficient resources
			"55", // object not in the needed state: lock timeout
			"57", // operator intervention, statement timeout
			"58": // system error
			return true
		}
		return false
	}
	return errors.As(err, &network) ||
		errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		pgconn.SafeToRetry(err)
}

// refusesData is true where the same rows will be refused again: bad data or
// a broken constraint.
func refusesData(err error) bool {
	class := errorClass(err)
	return class == "22" || class == "23"
}

// contended is true where another transaction got in the way: trying again
// helps, and nobody needs to hear of it.
func contended(err error) bool {
	return errorClass(err) == "40"
}

// isStale is true where require_epoch refused.
func isStale(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == staleEpoch
}

func oversold(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.ConstraintName == soldGuard
}

// errorClass is the first two digits of the SQLSTATE, empty if the error is
// not the server's.
func errorClass(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && len(pg.Code) == 5 {
		return pg.Code[:2]
	}
	return ""
}
