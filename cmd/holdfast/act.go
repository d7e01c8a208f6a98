package main

import (
	"context"

	"github.com/holdfast/holdfast/persist"
)

// begin notes in the admin log what is about to be done from the command line. While
// Postgres is away it is done all the same, and the log of the process says so.
func (s *stores) begin(ctx context.Context, action string, drop int64, before any) (end func(after any)) {
	id, err := s.store.WriteAct(ctx, persist.NewAct{By: persist.By{Who: "cli"}, Action: action, Drop: drop, Before: before})
	if err != nil {
		s.log.Warn("this is missing in the admin log", "action", action, "drop", drop, "err", err)
		return func(any) {}
	}
	return func(after any) {
		if err := s.store.EndAct(ctx, id, after); err != nil {
			s.log.Warn("the outcome is missing in the admin log", "action", action, "drop", drop, "err", err)
		}
	}
}

// refused is the outcome of what was not done.
func refused(err error) map[string]string { return map[string]string{"refused": err.Error()} }
