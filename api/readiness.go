package api

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
)

// The states of what an instance needs.
const (
	stateOK       = "ok"
	stateNoAnswer = "no answer"
	stateWrong    = "wrong"      // settings of Redis break a promise
	stateRefused  = "not loaded" // Redis does not take the scripts
	stateUnknown  = "unknown"    // whoever could say does not answer
	stateFenced   = "fenced"     // some or all partitions are

	stateRefusesWrites = "refuses writes" // for too few replicas follow it, or its disk is full
)

// component is the state of one thing that an instance needs.
type component struct {
	State string `json:"state"`
}

type readiness struct {
	Status   string           `json:"status"`
	Redis    component        `json:"redis"`
	Postgres component        `json:"postgres"`
	Scripts  component        `json:"scripts"`
	Settings settingsState    `json:"settings"`
	Fencing  fencingComponent `json:"fencing"`
	Identity string           `json:"identity"`
	FairUse  string           `json:"fair_use"`
	Roles    []string         `json:"roles"`
	Version  string           `json:"version"`
}

type settingsState struct {
	component
	// Problems is how many settings are wrong. The log at start names them.
	Problems int `json:"problems"`
}

type fencingComponent struct {
	component
	Fenced     int `json:"fenced_partitions"`
	Partitions int `json:"partitions"`
}

// readyTimeout bounds the questions of readyz.
const readyTimeout = 2 * time.Second

// readyz says whether this instance can serve. Without Postgres it can: it
// sells on, and the ledger waits.
func (a *API) readyz(c *fiber.Ctx) error {
	r := a.readiness()
	status := fiber.StatusOK
	if r.Status == "unavailable" || r.Status == "stopping" {
		status = fiber.StatusServiceUnavailable
	}
	return c.Status(status).JSON(r)
}

// readiness is how all that the instance needs is. One that leaves asks
// nobody: whatever state the stores are in, balancers have to hear of it.
func (a *API) readiness() readiness {
	if a.unready.Load() {
		u := component{stateUnknown}
		return readiness{
			Status: "stopping", Redis: u, Postgres: u, Scripts: u, Settings: settingsState{component: u},
			Fencing:  fencingComponent{u, len(a.engine.Fenced()), a.engine.Partitions()},
			Identity: a.identityMode(), FairUse: a.fairUse(), Roles: a.cfg.Roles, Version: a.cfg.Version,
		}
	}
	return a.ready.or(a.askAll)
}

// askAll asks all that the instance needs, at once.
func (a *API) askAll() readiness {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	r := readiness{
		Status: "ready", Identity: a.identityMode(), FairUse: a.fairUse(), Roles: a.cfg.Roles, Version: a.cfg.Version,
		Redis: component{stateOK}, Postgres: component{stateOK}, Scripts: component{stateOK},
		Settings: settingsState{component: component{stateOK}}, Fencing: fencingComponent{component: component{stateOK}},
	}
	var redisErr, scriptsErr, postgresErr, settingsErr error
	var refusing int
	var wg sync.WaitGroup
	wg.Go(func() { redisErr = a.engine.Ping(ctx) })
	wg.Go(func() { refusing = a.engine.RefusingWrites(ctx) })
	wg.Go(func() { scriptsErr = a.engine.LoadScripts(ctx) })
	wg.Go(func() { postgresErr = a.catalogue.store.Ping(ctx) })
	wg.Go(func() { r.Settings.Problems, settingsErr = a.settings.problems(ctx, a.engine.CheckSettings) })
	wg.Wait()

	switch { // Calls go on with either: each brings its script along where it has to.
	case scriptsErr != nil && redisErr != nil:
		r.Scripts.State = stateUnknown
	case scriptsErr != nil:
		r.Scripts.State = stateRefused
	}
	switch {
	case settingsErr != nil:
		r.Settings.State = stateUnknown
	case r.Settings.Problems > 0:
		r.Settings.State = stateWrong
	}
	if postgresErr != nil {
		r.Status, r.Postgres.State = "degraded", stateNoAnswer
	}
	// A partition is fenced for moments after a change of Redis; the others sell.
	r.Fencing.Fenced, r.Fencing.Partitions = len(a.engine.Fenced()), a.engine.Partitions()
	if r.Fencing.Fenced > 0 {
		r.Status, r.Fencing.State = "degraded", stateFenced
	}
	if refusing > 0 {
		r.Status, r.Redis.State = "degraded", stateRefusesWrites
	}
	if r.Fencing.Fenced == r.Fencing.Partitions || refusing == r.Fencing.Partitions {
		r.Status = "unavailable"
	}
	if redisErr != nil {
		r.Status, r.Redis.State = "unavailable", stateNoAnswer
	}
	return r
}

// readinessMemory shares what was just found: everybody may ask, however often.
type readinessMemory struct {
	mu   sync.Mutex // held by the one who asks; others wait for the answer
	at   time.Time
	last readiness
}

// readinessAge is for how long what was found is passed on.
const readinessAge = 100 * time.Millisecond

func (m *readinessMemory) or(ask func() readiness) readiness {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.at) > readinessAge {
		m.last = ask()
		m.at = time.Now()
	}
	return m.last
}

// settingsMemory keeps how many of Redis's settings are wrong: they change
// seldom, and to ask takes several calls.
type settingsMemory struct {
	asking sync.Mutex // held by the one who asks
	known  atomic.Pointer[settingsCount]
}

type settingsCount struct {
	problems int
	at       time.Time
}

// settingsAge is for how long an answer on Redis's settings is passed on.
const settingsAge = 30 * time.Second

var errNotKnownYet = errors.New("settings are not known yet")

// problems asks check where what is known is old. Those who come while somebody
// asks get what is known.
func (m *settingsMemory) problems(ctx context.Context, check func(context.Context) ([]string, error)) (int, error) {
	known := m.known.Load()
	if known != nil && time.Since(known.at) < settingsAge {
		return known.problems, nil
	}
	if !m.asking.TryLock() {
		if known == nil {
			return 0, errNotKnownYet
		}
		return known.problems, nil
	}
	defer m.asking.Unlock()
	found, err := check(ctx)
	if err != nil {
		return 0, err
	}
	m.known.Store(&settingsCount{len(found), time.Now()})
	return len(found), nil
}

// identityMode names whose word counts for who buys.
func (a *API) identityMode() string {
	if a.cfg.Identity != nil {
		return "jwt"
	}
	return "open"
}
