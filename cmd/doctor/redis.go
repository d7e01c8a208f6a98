package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast/holdfast/engine"
)

const redisACL = `docs/OPERATIONS.md, "Least privilege", has the user that does: ACL SETUSER, then ACL SAVE`

func (d *Doctor) examineRedis(ctx context.Context, r *Report) {
	e := d.cfg.Engine
	found, err := e.Inspect(ctx)
	denied := err != nil && strings.Contains(err.Error(), "NOPERM")
	if err != nil && !denied {
		r.fail("redis", "see that it runs, and that HOLDFAST_REDIS_URL has its address, user and password: redis-cli -u URL ping", "no answer: %v", err)
		return
	}
	d.rights(ctx, r)
	if denied {
		r.fail("redis", "see redis rights: "+redisACL, "it cannot be looked at: %v", err)
		return
	}
	for _, s := range found.Servers {
		redisVersion(r, s)
		if !s.Primary {
			r.fail("redis role", "give the primary's address, or redis-sentinel:// with those of the Sentinels", "%s is a replica, and takes no writes", s.Addr)
		}
		if s.MaxMemory == 0 {
			r.warn("redis memory", "CONFIG SET maxmemory to less than the machine has: new holds then end in time, with 503",
				"%s has no maxmemory: it grows until the system ends it", s.Addr)
		} else {
			r.ok("redis memory", "%s has a maxmemory of %d MiB", s.Addr, s.MaxMemory>>20)
		}
	}
	d.settings(ctx, r)
	d.clock(r, "redis clock", "Redis", found.Clock, found.Asked, found.Trip)
	partitions(r, found.Recorded, e.Partitions())
	switch {
	case found.Uncovered > 0:
		r.fail("redis cluster", "redis-cli --cluster fix, and start the masters that are gone: drops of these slots answer 503", "%d of its 16384 slots are served by nobody", found.Uncovered)
	case found.Cluster:
		r.ok("redis cluster", "all slots are served, by %d masters", len(found.Servers))
	}
}

// rights tries the commands.
func (d *Doctor) rights(ctx context.Context, r *Report) {
	missing, err := d.cfg.Engine.MissingRights(ctx)
	switch {
	case err != nil:
		r.fail("redis rights", "read what Redis says: NOREPLICAS wants replicas (min-replicas-to-write), MISCONF a disk that takes writes",
			"commands cannot be tried: %v", err)
	case len(missing) > 0:
		r.fail("redis rights", redisACL, "its user may not: %s", strings.Join(missing, ", "))
	default:
		r.ok("redis rights", "its user may send all %d commands that are used", len(engine.Commands()))
	}
}

func (d *Doctor) settings(ctx context.Context, r *Report) {
	problems, err := d.cfg.Engine.ReviewSettings(ctx)
	if err != nil {
		r.fail("redis settings", "try again", "they cannot be read: %v", err)
		return
	}
	for _, p := range problems {
		mend := fmt.Sprintf("CONFIG SET %s …, and the same in redis.conf (CONFIG REWRITE)", p.Setting)
		switch {
		case p.Breaks:
			r.fail("redis settings", mend, "%s", p.Says)
		case p.Setting == "":
			r.warn("redis settings", "allow CONFIG GET, or compare them by hand", "%s", p.Says)
		default:
			r.warn("redis settings", mend, "%s", p.Says)
		}
	}
	if len(problems) == 0 {
		r.ok("redis settings", "they keep what is acknowledged, and tell of lapsed holds")
	}
}

// The oldest versions that Holdfast runs on.
const (
	oldestRedis    = "7.0"
	oldestValkey   = "7.2"
	oldestPostgres = 14
)

func redisVersion(r *Report, s engine.Server) {
	oldest := oldestRedis
	if s.Kind == "valkey" {
		oldest = oldestValkey
	}
	if older(s.Version, oldest) {
		r.fail("redis version", fmt.Sprintf("update it: %s %s or newer", s.Kind, oldest), "%s is %s %s", s.Addr, s.Kind, s.Version)
		return
	}
	r.ok("redis version", "%s is %s %s", s.Addr, s.Kind, s.Version)
}

// older compares the first two numbers of two versions. One that cannot be read
// is older than any.
func older(version, than string) bool {
	a, b := numbers(version), numbers(than)
	return a[0] < b[0] || a[0] == b[0] && a[1] < b[1]
}

func numbers(version string) (n [2]int) {
	for i, part := range strings.SplitN(version, ".", 3) {
		if i < len(n) {
			n[i], _ = strconv.Atoi(part) // 0 where it is none
		}
	}
	return n
}

func partitions(r *Report, recorded string, configured int) {
	switch recorded {
	case "":
		r.ok("redis partitions", "none are recorded: the first start will record %d, for good", configured)
	case strconv.Itoa(configured):
		r.ok("redis partitions", "%d, as recorded", configured)
	default:
		r.fail("redis partitions", "set HOLDFAST_PARTITIONS="+recorded+"; or, where this should be a deployment of its own, another HOLDFAST_PREFIX",
			"%d are configured, and this deployment was started with %s", configured, recorded)
	}
}
