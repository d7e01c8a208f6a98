package persist

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Subject is somebody as the issuer of a token names him.
type Subject struct{ Issuer, Subject string }

// OfSubject gives the person of a subject, who is added at first sight under
// the name; without one as buyer-<some letters>. One person is added where many ask at once,
// on any number of instances. The name of somebody known stays as it was.
// Returns ErrInvalid for texts Postgres can not hold.
func (u *Users) OfSubject(ctx context.Context, who Subject, name string) (id int64, err error) {
	if id, ok := u.bySubject.Get(who); ok {
		return id, nil
	}
	shared := context.WithoutCancel(ctx) // as for User
	answer := u.asking.DoChan(fmt.Sprintf("%q of %q", who.Subject, who.Issuer), func() (any, error) {
		id, err := u.store.userOfSubject(shared, who, name)
		if err == nil {
			u.bySubject.Add(who, id)
		}
		return id, err
	})
	select {
	case res := <-answer:
		id, _ := res.Val.(int64) // it is one
		return id, res.Err
	case <-ctx.Done():
		return 0, wrap("user of a token", ctx.Err())
	}
}

func (s *Store) userOfSubject(ctx context.Context, who Subject, name string) (id int64, err error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	const find = `SELECT user_id FROM subjects WHERE issuer = $1 AND subject = $2`
	err = s.pool.QueryRow(ctx, find, who.Issuer, who.Subject).Scan(&id)
	if !errors.Is(err, pgx.ErrNoRows) {
		return id, wrap("user of a token", err)
	}
	if name == "" {
		const letters = 8
		name = "buyer-" + strings.ToLower(rand.Text()[:letters])
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// Those who are as quick wait here for the first of them, and find what it has added.
		_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, who.Issuer+" "+who.Subject)
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, find, who.Issuer, who.Subject).Scan(&id)
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		return tx.QueryRow(ctx, `
			WITH added AS (
				INSERT INTO users (username, guest) VALUES ($3, false) RETURNING id),
			named AS (
				INSERT INTO subjects (issuer, subject, user_id) SELECT $1, $2, id FROM added)
			SELECT id FROM added`, who.Issuer, who.Subject, name).Scan(&id)
	})
	return id, wrap("add the user of a token", err)
}
