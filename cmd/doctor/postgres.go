package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/holdfast/holdfast/persist"
)

func (d *Doctor) examinePostgres(ctx context.Context, r *Report) {
	found, err := d.cfg.Store.Inspect(ctx)
	if err != nil {
		r.fail("postgres", "see that it runs, and that HOLDFAST_DATABASE_URL has its address, role and password: psql URL -c 'SELECT 1'", "no answer: %v", err)
		return
	}
	postgresVersion(r, found)
	if found.ReadOnly {
		r.fail("postgres role", "give the primary's address, or target_session_attrs=read-write in HOLDFAST_DATABASE_URL", "it takes no writes: a standby, or read-only by default")
	}
	schema(r, found)
	const least = `docs/OPERATIONS.md, "Least privilege", has the statements`
	switch {
	case len(found.MissingRights) > 0:
		r.fail("postgres rights", fmt.Sprintf("GRANT … TO %s: %s", found.Role, least), "%s lacks %s", found.Role, strings.Join(found.MissingRights, ", "))
	case found.Superuser:
		r.warn("postgres rights", "serve by a role of its own: "+least, "%s is a superuser", found.Role)
	case found.Owner:
		r.warn("postgres rights", "migrate by the owner, serve by a role of its own: "+least, "%s owns the tables, and could drop them", found.Role)
	default:
		r.ok("postgres rights", "%s may do what is needed, and no more than its grants", found.Role)
	}
	if left := found.MaxConnections - found.MaxOfPool; left < found.MaxOfPool {
		r.warn("postgres connections", "lower HOLDFAST_DATABASE_CONNS or raise max_connections: those of all instances have to fit",
			"each instance takes up to %d of %d", found.MaxOfPool, found.MaxConnections)
	} else {
		r.ok("postgres connections", "each instance takes up to %d of %d", found.MaxOfPool, found.MaxConnections)
	}
	d.clock(r, "postgres clock", "Postgres", found.Clock, found.Asked, found.Trip)
}

func postgresVersion(r *Report, found persist.Inspection) {
	if found.Version < oldestPostgres*10_000 {
		r.fail("postgres version", fmt.Sprintf("update it: %d or newer", oldestPostgres), "it is %s", found.VersionText)
		return
	}
	r.ok("postgres version", "it is %s", found.VersionText)
}

func schema(r *Report, found persist.Inspection) {
	switch {
	case found.Schema == -1:
		r.warn("postgres schema", "see postgres rights", "its version cannot be read")
	case found.Schema < found.WantSchema:
		r.fail("postgres schema", "run holdfast migrate before the instances start", "it is at migration %d, and this version needs %d", found.Schema, found.WantSchema)
	case found.Schema > found.WantSchema:
		r.warn("postgres schema", "run this version's successor; an older one runs on a newer schema only while the two are changed over",
			"it is at migration %d, and this version knows %d", found.Schema, found.WantSchema)
	default:
		r.ok("postgres schema", "it is at migration %d, as this version needs", found.Schema)
	}
}
