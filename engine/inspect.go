package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Inspection is what a look at Redis found, for who checks a deployment. It can
// be made before Start.
type Inspection struct {
	// Servers that take writes: one, or the masters of a cluster.
	Servers []Server
	// Recorded is the number of partitions that the deployment was first started
	// with; "" when it has not been started.
	Recorded string
	// Clock is Redis's time, Asked this process's in the middle of that call, and
	// Trip how long the call took.
	Clock, Asked time.Time
	Trip         time.Duration
	// Cluster tells a cluster, and Uncovered how many of its 16,384 slots nobody
	// serves.
	Cluster   bool
	Uncovered int
}

// Server is one of the servers.
type Server struct {
	Addr      string
	Kind      string // redis or valkey
	Version   string
	MaxMemory int64 // bytes; 0 for no limit
	Primary   bool
}

// Inspect looks at Redis and changes nothing. It returns ErrUnavailable when
// Redis does not answer.
func (e *Engine) Inspect(ctx context.Context) (Inspection, error) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.CallTimeout)
	defer cancel()
	var found Inspection
	before := time.Now()
	clock, err := e.redis.Time(ctx).Result()
	if err != nil {
		return found, unavailable(err)
	}
	found.Clock, found.Trip = clock, time.Since(before)
	found.Asked = before.Add(found.Trip / 2)
	found.Recorded, err = e.redis.Get(ctx, e.keys.count()).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return found, unavailable(err)
	}
	servers := map[string]*redis.Client{}
	if cluster, ok := e.redis.(*redis.ClusterClient); ok {
		found.Cluster = true
		if found.Uncovered, err = uncovered(ctx, cluster); err == nil {
			servers, err = mastersOf(ctx, cluster, e.cfg.CallTimeout)
		}
		if err != nil {
			return found, unavailable(err)
		}
	} else if one, ok := e.redis.(*redis.Client); ok {
		servers[one.Options().Addr] = one
	}
	for _, addr := range slices.Sorted(maps.Keys(servers)) {
		info, err := servers[addr].Info(ctx).Result()
		if err != nil {
			return found, unavailable(fmt.Errorf("server %s: %w", addr, err))
		}
		found.Servers = append(found.Servers, serverOf(addr, info))
	}
	return found, nil
}

// serverOf reads INFO. A Valkey also tells the version of the Redis whose place
// it takes.
func serverOf(addr, info string) Server {
	s := Server{Addr: addr, Kind: "redis", Primary: infoText(info, "role") == "master", MaxMemory: infoNumber(info, "maxmemory")}
	s.Version = infoText(info, "redis_version")
	if v := infoText(info, "valkey_version"); v != "" {
		s.Kind, s.Version = "valkey", v
	}
	return s
}

func infoText(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// uncovered is how many slots have no master.
func uncovered(ctx context.Context, cluster *redis.ClusterClient) (int, error) {
	ranges, err := cluster.ClusterSlots(ctx).Result() //nolint:staticcheck // the client itself asks it, so a user of few rights may
	if err != nil {
		return 0, err
	}
	left := slots
	for _, r := range ranges {
		if len(r.Nodes) > 0 {
			left -= r.End - r.Start + 1
		}
	}
	return left, nil
}
