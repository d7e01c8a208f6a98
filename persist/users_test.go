package persist_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/harness"
)

func newUsers(t *testing.T, store *persist.Store) *persist.Users {
	t.Helper()
	users, err := persist.NewUsers(persist.UsersConfig{Store: store, Cache: 100})
	must(t, err)
	return users
}

func TestFindOrCreateRaced(t *testing.T) {
	e := newEnv(t)
	for name, guest := range map[string]func(i int) (string, string){
		"by email": func(i int) (string, string) {
			return fmt.Sprint("name", i), []string{"Grace@Example.com", "grace@example.com"}[i%2]
		},
		"by name": func(int) (string, string) { return "grace", "" },
	} {
		t.Run(name, func(t *testing.T) {
			var created atomic.Int64
			var mu sync.Mutex
			ids := map[int64]bool{}
			var all sync.WaitGroup
			for i := range 50 {
				users := newUsers(t, e.store) // as many processes, so no cache helps
				all.Go(func() {
					username, email := guest(i)
					u, isNew, err := users.FindOrCreate(t.Context(), username, email)
					if err != nil {
						t.Error(err)
						return
					}
					if isNew {
						created.Add(1)
					}
					mu.Lock()
					defer mu.Unlock()
					ids[u.ID] = true
				})
			}
			all.Wait()
			if created.Load() != 1 || len(ids) != 1 {
				t.Errorf("created %d times, ids %v, want one person", created.Load(), ids)
			}
		})
	}
}

func TestFindOrCreateTellsPeopleApart(t *testing.T) {
	e := newEnv(t)
	users := newUsers(t, e.store)
	find := func(username, email string) persist.User {
		t.Helper()
		u, _, err := users.FindOrCreate(t.Context(), username, email)
		must(t, err)
		return u
	}
	ada := find("ada", "Ada@Example.com")
	if got := find("somebody else", "ADA@example.COM"); got != ada || got.Username != "ada" || got.Email != "Ada@Example.com" {
		t.Errorf("by the same email: %+v, want %+v", got, ada)
	}
	named := find("ada", "")
	if named.ID == ada.ID || named.Email != "" {
		t.Errorf("without an email: %+v is the person with one", named)
	}
	if other := find("ada", "other@example.com"); other.ID == ada.ID || other.ID == named.ID {
		t.Errorf("another email: %+v is known", other)
	}
	if again := find("ada", ""); again != named {
		t.Errorf("by the same name: %+v, want %+v", again, named)
	}
	for _, bad := range [][2]string{{"a\x00", ""}, {"a", "\xff@example.com"}} {
		if _, _, err := users.FindOrCreate(t.Context(), bad[0], bad[1]); !errors.Is(err, persist.ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", bad, err)
		}
	}
}

func TestKnownAsksPostgresOnceAPerson(t *testing.T) {
	e := newEnv(t)
	id := e.user()
	seen := &statements{}
	store, err := persist.Open(persist.Config{URL: e.DatabaseURL, Tracer: seen})
	must(t, err)
	t.Cleanup(store.Close)
	users := newUsers(t, store)

	// The table is locked until all have asked, so that they ask at once.
	unlock := lockUsers(t, e.sql)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := users.Known(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
	e.eventually("the first question", func() bool { return seen.count() >= 1 })
	unlock()
	all.Wait()
	for range 10 {
		must(t, users.Known(t.Context(), id))
	}
	u, err := users.User(t.Context(), id)
	must(t, err)
	if u.Username != "ada" {
		t.Errorf("user %+v", u)
	}
	if _, isNew, err := users.FindOrCreate(t.Context(), "eve", "eve@example.com"); err != nil || !isNew {
		t.Errorf("find or create: new %v, %v", isNew, err)
	}
	before := seen.count()
	for range 10 {
		u, isNew, err := users.FindOrCreate(t.Context(), "eve", "eve@example.com")
		must(t, err)
		if isNew {
			t.Error("created twice")
		}
		must(t, users.Known(t.Context(), u.ID))
	}
	if n := seen.count(); n != before || before > 1+2 {
		t.Errorf("%d statements, then %d; want one for Known and two for FindOrCreate:\n%s", before, n, seen)
	}
}

func TestKnownSurvivesTheFirstCallersCancel(t *testing.T) {
	e := newEnv(t)
	id := e.user()
	seen := &statements{}
	store, err := persist.Open(persist.Config{URL: e.DatabaseURL, Tracer: seen})
	must(t, err)
	t.Cleanup(store.Close)
	users := newUsers(t, store)

	unlock := lockUsers(t, e.sql)
	first, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { result <- users.Known(first, id) }()
	e.eventually("the first caller to ask", func() bool { return seen.count() == 1 })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled caller: %v", err)
	}
	go func() { result <- users.Known(t.Context(), id) }()
	unlock()
	if err := <-result; err != nil {
		t.Errorf("the other caller: %v", err)
	}
	if n := seen.count(); n != 1 {
		t.Errorf("%d statements, want the first caller's to serve the other", n)
	}
}

func TestKnownDoesNotRememberStrangers(t *testing.T) {
	e := newEnv(t)
	users := newUsers(t, e.store)
	for _, id := range []int64{-1, 0, 1, 1 << 53} {
		if err := users.Known(t.Context(), id); !errors.Is(err, persist.ErrNotFound) {
			t.Errorf("Known(%d): %v, want ErrNotFound", id, err)
		}
	}
	id := e.user() // added elsewhere meanwhile
	must(t, users.Known(t.Context(), id))
}

func TestSeveralAsksForStrangersAlone(t *testing.T) {
	e := newEnv(t)
	all := newUsers(t, e.store)
	people := map[int64]persist.User{}
	ids := make([]int64, 5)
	for i := range ids {
		u, _, err := all.FindOrCreate(t.Context(), fmt.Sprint("name", i), fmt.Sprintf("%d@example.com", i))
		must(t, err)
		ids[i], people[u.ID] = u.ID, u
	}
	proxy := harness.NewProxy(t, e.DatabaseURL)
	seen := &statements{}
	store, err := persist.Open(persist.Config{
		URL: proxy.URL(), Tracer: seen, Timeout: time.Second, ConnectTimeout: time.Second,
	})
	must(t, err)
	t.Cleanup(store.Close)
	users := newUsers(t, store)
	// several fails unless those found are the people that are wanted, as they are.
	several := func(ask, want []int64) error {
		t.Helper()
		found, err := users.Several(t.Context(), ask)
		if len(found) != len(want) {
			t.Errorf("found %+v of %v, want %v", found, ask, want)
		}
		for _, id := range want {
			if found[id] != people[id] {
				t.Errorf("found %+v, want %+v", found[id], people[id])
			}
		}
		return err
	}
	must(t, users.Known(t.Context(), ids[0]))
	_, err = e.sql.Exec(t.Context(), `UPDATE users SET username = 'asked again' WHERE id = $1`, ids[0])
	must(t, err)
	for _, c := range []struct {
		ask, want  []int64
		statements int
	}{
		{nil, nil, 0},
		{ids[:1], ids[:1], 0},
		{[]int64{ids[2], ids[0], 1 << 53, -1, ids[1], ids[2]}, ids[:3], 1},
		{[]int64{ids[2], ids[1]}, ids[1:3], 0}, // remembered
		{[]int64{1 << 53}, nil, 1},             // somebody may be added meanwhile
	} {
		before := seen.count()
		must(t, several(c.ask, c.want))
		if n := seen.count() - before; n != c.statements {
			t.Errorf("%d statements for %v, want %d", n, c.ask, c.statements)
		}
	}

	proxy.Cut()
	must(t, several(ids[:3], ids[:3]))
	for want, ask := range map[int][]int64{0: ids[3:], 3: ids} {
		if err := several(ask, ids[:want]); !errors.Is(err, persist.ErrUnavailable) {
			t.Errorf("Postgres away: %v, want ErrUnavailable", err)
		}
	}
	proxy.Restore()
	must(t, several(ids, ids))
}

func TestSeed(t *testing.T) {
	e := newEnv(t)
	users := newUsers(t, e.store)
	var seen []int
	n, err := users.Seed(t.Context(), 4500, func(done int) { seen = append(seen, done) })
	must(t, err)
	if n != 4500 || !slices.Equal(seen, []int{2000, 4000, 4500}) {
		t.Errorf("%d added, progress %v", n, seen)
	}
	n, err = users.Seed(t.Context(), 5000, nil)
	must(t, err)
	if n != 500 || e.count(`SELECT count(*) FROM users`) != 5000 {
		t.Errorf("%d added the second time, want 500", n)
	}
}

// lockUsers makes everybody who reads the table wait.
func lockUsers(t *testing.T, pool *pgxpool.Pool) (unlock func()) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), `LOCK TABLE users IN ACCESS EXCLUSIVE MODE`)
	must(t, err)
	unlock = sync.OnceFunc(func() {
		if err := tx.Rollback(context.Background()); err != nil {
			t.Errorf("unlock: %v", err)
		}
	})
	t.Cleanup(unlock)
	return unlock
}
