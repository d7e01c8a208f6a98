package persist

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/singleflight"
)

// User is one person.
type User struct {
	ID       int64
	Username string
	Email    string // as first given; empty for none
	Created  time.Time
}

// UsersConfig configures Users.
type UsersConfig struct {
	// Store is where people are kept. Required.
	Store *Store
	// Cache is the number of people remembered. Defaults to 100,000.
	Cache int
}

// Users finds and adds people. Those it has seen are remembered in process,
// so that the reserve path asks Postgres once a person. That somebody does not
// exist is not remembered.
type Users struct {
	store     *Store
	byID      *lru.Cache[int64, User]
	byGuest   *lru.Cache[guest, User]
	bySubject *lru.Cache[Subject, int64]
	asking    singleflight.Group
}

// guest is how somebody without an id introduces himself: exactly as given,
// since Postgres alone decides which emails are the same.
type guest struct{ username, email string }

// NewUsers makes a Users.
func NewUsers(cfg UsersConfig) (*Users, error) {
	if cfg.Store == nil {
		return nil, errors.New("persist: UsersConfig.Store is required")
	}
	if cfg.Cache <= 0 {
		cfg.Cache = 100_000
	}
	byID, err := lru.New[int64, User](cfg.Cache)
	if err != nil {
		return nil, fmt.Errorf("user cache: %w", err)
	}
	byGuest, err := lru.New[guest, User](cfg.Cache)
	if err != nil {
		return nil, fmt.Errorf("guest cache: %w", err)
	}
	bySubject, err := lru.New[Subject, int64](cfg.Cache)
	if err != nil {
		return nil, fmt.Errorf("subject cache: %w", err)
	}
	return &Users{store: cfg.Store, byID: byID, byGuest: byGuest, bySubject: bySubject}, nil
}

// Known returns nil if there is such a person, else ErrNotFound.
func (u *Users) Known(ctx context.Context, id int64) error {
	_, err := u.User(ctx, id)
	return err
}

// User gives one person. Returns ErrNotFound. Callers that ask for the same
// person at the same time share one statement.
func (u *Users) User(ctx context.Context, id int64) (User, error) {
	if id < 1 {
		return User{}, fmt.Errorf("user %d: %w", id, ErrNotFound)
	}
	if user, ok := u.byID.Get(id); ok {
		return user, nil
	}
	// The statement outlives a caller who goes away, because others may wait
	// for it; the store's own timeout bounds it.
	shared := context.WithoutCancel(ctx)
	answer := u.asking.DoChan(strconv.FormatInt(id, 10), func() (any, error) {
		user, err := u.store.user(shared, id)
		if err == nil {
			u.byID.Add(id, user)
		}
		return user, err
	})
	select {
	case res := <-answer:
		if res.Err != nil {
			return User{}, res.Err
		}
		user, _ := res.Val.(User) // it is one
		return user, nil
	case <-ctx.Done():
		return User{}, wrap(fmt.Sprintf("user %d", id), ctx.Err())
	}
}

// Several gives those of the people that there are, in one statement at most.
// After an error it gives those that were remembered.
func (u *Users) Several(ctx context.Context, ids []int64) (map[int64]User, error) {
	people := make(map[int64]User, len(ids))
	var ask []int64
	for _, id := range ids {
		if user, ok := u.byID.Get(id); ok {
			people[id] = user
		} else {
			ask = append(ask, id)
		}
	}
	if len(ask) == 0 {
		return people, nil
	}
	found, err := u.store.usersByID(ctx, ask)
	for _, user := range found {
		u.byID.Add(user.ID, user)
		people[user.ID] = user
	}
	return people, err
}

// FindOrCreate gives the person with this email, whatever its case; without
// an email the person of this name who has none. Nobody yet: the person is
// added, and created is true for exactly one of those who ask at once. The
// username of somebody found by email stays as it was.
// Returns ErrInvalid for texts Postgres can not hold.
func (u *Users) FindOrCreate(ctx context.Context, username, email string) (user User, created bool, err error) {
	key := guest{email: email}
	if email == "" {
		key.username = username
	}
	if user, ok := u.byGuest.Get(key); ok {
		return user, false, nil
	}
	user, created, err = u.store.findOrCreateUser(ctx, username, email)
	if err != nil {
		return User{}, false, err
	}
	u.byGuest.Add(key, user)
	u.byID.Add(user.ID, user)
	return user, created, nil
}

// Seed adds sample people, sample1@example.com to sample<n>@example.com, and
// returns how many of them are new. progress may be nil; done rises to n.
func (u *Users) Seed(ctx context.Context, n int, progress func(done int)) (created int, err error) {
	const batch = 2000
	for done := 0; done < n; {
		last := min(done+batch, n)
		added, err := u.store.seedUsers(ctx, done+1, last)
		if err != nil {
			return created, err
		}
		created += added
		done = last
		if progress != nil {
			progress(done)
		}
	}
	return created, nil
}

const userColumns = `id, username, coalesce(email, ''), created_at`

func scanUser(row pgx.Row) (User, error) {
	var user User
	err := row.Scan(&user.ID, &user.Username, &user.Email, &user.Created)
	user.Created = user.Created.UTC()
	return user, err
}

func (s *Store) user(ctx context.Context, id int64) (User, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	user, err := scanUser(s.pool.QueryRow(ctx, `SELECT `+userColumns+` FROM users WHERE id = $1`, id))
	return user, wrap(fmt.Sprintf("user %d", id), err)
}

func (s *Store) usersByID(ctx context.Context, ids []int64) ([]User, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	rows, err := s.pool.Query(ctx, `SELECT `+userColumns+` FROM users WHERE id = ANY($1::bigint[])`, ids)
	if err != nil {
		return nil, wrap("read users", err)
	}
	people, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (User, error) { return scanUser(row) })
	return people, wrap("read users", err)
}

func (s *Store) findOrCreateUser(ctx context.Context, username, email string) (User, bool, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	const (
		byEmail = `SELECT ` + userColumns + ` FROM users WHERE email IS NOT NULL AND lower(email) = lower($1)`
		byName  = `SELECT ` + userColumns + ` FROM users WHERE email IS NULL AND guest AND username = $1`
		// Without a row: somebody else was quicker and has committed.
		insert = `INSERT INTO users (username, email) VALUES ($1, nullif($2, ''))
			ON CONFLICT DO NOTHING RETURNING ` + userColumns
	)
	find, key := byEmail, email
	if email == "" {
		find, key = byName, username
	}
	user, err := scanUser(s.pool.QueryRow(ctx, find, key))
	if !errors.Is(err, pgx.ErrNoRows) {
		return user, false, wrap("find user", err)
	}
	user, err = scanUser(s.pool.QueryRow(ctx, insert, username, email))
	if !errors.Is(err, pgx.ErrNoRows) {
		return user, err == nil, wrap("add user", err)
	}
	user, err = scanUser(s.pool.QueryRow(ctx, find, key))
	return user, false, wrap("find user", err)
}

func (s *Store) seedUsers(ctx context.Context, first, last int) (added int, err error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	tag, err := s.pool.Exec(ctx, `
		INSERT INTO users (username, email)
		SELECT 'sample' || n, 'sample' || n || '@example.com'
		FROM generate_series($1::int, $2::int) AS n
		ON CONFLICT DO NOTHING`, first, last)
	return int(tag.RowsAffected()), wrap("seed users", err)
}
