package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"github.com/holdfast/holdfast/engine"
)

type holdsCommand struct {
	storeFlags
	Drop    int64 `help:"This drop alone."`
	Overdue bool  `help:"Only holds that have lapsed and are not back yet: with an expirer running there are none for longer than moments."`
	Most    int   `default:"1000" help:"At most so many of each drop."`
	JSON    bool  `name:"json" help:"One JSON object a line."`
}

// Help is shown by --help.
func (*holdsCommand) Help() string {
	return `Lists who holds a unit, and until when. Give one back with "holdfast release ID".`
}

// holdLine is one hold as it is printed.
type holdLine struct {
	ID       int64     `json:"id"`
	Drop     int64     `json:"drop"`
	User     int64     `json:"user"`
	Size     string    `json:"size"`
	Created  time.Time `json:"created"`
	Deadline time.Time `json:"deadline"`
	Overdue  bool      `json:"overdue"`
}

// Run lists holds.
func (c *holdsCommand) Run(ctx context.Context, log *slog.Logger) error {
	if err := c.validate(); err != nil {
		return err
	}
	s, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer s.close()
	var lines []holdLine
	add := func(holds []engine.Reservation, err error, overdue bool) error {
		for _, h := range holds {
			lines = append(lines, holdLine{
				ID: h.ID, Drop: h.Drop, User: h.User, Size: h.Size, Created: h.Created, Deadline: h.Deadline, Overdue: overdue,
			})
		}
		return err
	}
	list := func(drop int64) error {
		late, err := s.engine.OverdueHolds(ctx, drop, c.Most)
		if err := add(late, err, true); err != nil || c.Overdue {
			return err
		}
		live, err := s.engine.Holds(ctx, drop, c.Most)
		return add(live, err, false)
	}
	if c.Drop != 0 {
		err = list(c.Drop)
	} else {
		for d, dropErr := range s.store.AllDrops(ctx) {
			if err = dropErr; err == nil {
				err = list(d.ID)
			}
			if err != nil {
				break
			}
		}
	}
	return errors.Join(err, c.print(lines))
}

func (c *holdsCommand) print(lines []holdLine) error {
	if c.JSON {
		out := json.NewEncoder(os.Stdout)
		for _, l := range lines {
			if err := out.Encode(l); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "RESERVATION\tDROP\tSIZE\tUSER\tCREATED\tDEADLINE\t")
	for _, l := range lines {
		late := ""
		if l.Overdue {
			late = "overdue"
		}
		_, _ = fmt.Fprintf(w, "%d\t%d\t%s\t%d\t%s\t%s\t%s\n", l.ID, l.Drop, l.Size, l.User,
			l.Created.Format(time.RFC3339), l.Deadline.Format(time.RFC3339), late)
	}
	return w.Flush()
}

type releaseCommand struct {
	storeFlags
	IDs     []int64 `arg:"" optional:"" name:"id" help:"Reservations to cancel."`
	Overdue bool    `help:"Give back everything that has lapsed, as an expirer does."`
}

// Help is shown by --help.
func (*releaseCommand) Help() string {
	return `Cancels live holds, whoever has them: their people are told "Reservation cancelled" when they want to buy. What is purchased already is refused. A hold whose parts disagree ("conservation violated") is set right by "holdfast rebuild --drop N".`
}

// Run releases.
func (c *releaseCommand) Run(ctx context.Context, log *slog.Logger) error {
	err := c.validate()
	if len(c.IDs) == 0 && !c.Overdue {
		err = errors.Join(err, errors.New("name reservations, or --overdue"))
	}
	if err != nil {
		return err
	}
	s, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer s.close()
	if c.Overdue {
		if err := s.engine.NewExpirer(engine.ExpirerConfig{}).Sweep(ctx); err != nil {
			return err
		}
		fmt.Println("Everything that had lapsed is back.")
	}
	var errs []error
	for _, id := range c.IDs {
		end := s.begin(ctx, "release", engine.DropOf(id), map[string]int64{"id": id})
		r, err := s.engine.Cancel(ctx, id)
		if err == nil {
			end(map[string]any{"id": id, "status": r.Status, "UserId": r.User})
		} else {
			end(refused(err))
		}
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("reservation %d: %w", id, err))
		case r.Replayed:
			fmt.Printf("Reservation %d was cancelled before.\n", id)
		default:
			fmt.Printf("Reservation %d is cancelled; its unit of drop %d is for sale again.\n", id, r.Drop)
		}
	}
	return errors.Join(errs...)
}
