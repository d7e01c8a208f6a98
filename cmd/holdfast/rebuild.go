package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

type rebuildCommand struct {
	storeFlags
	Drop int64 `help:"This drop alone."`
}

// Help is shown by --help.
func (*rebuildCommand) Help() string {
	return `Instances do this by themselves when Redis changes under them. By hand it is for a Redis in which a foreign hand has been: it opens drops that Redis lacks, puts back purchases that Postgres has and Redis lacks, counts the holds one by one, and sets the counters right. It only moves in the safe direction: what Redis has sold stays sold.

The partitions, one after the other, answer 503 to every change while they are rebuilt: less than a second, unless very much was sold. Ids of a rebuilt drop go on above all that may have been handed out.`
}

// Run rebuilds.
func (c *rebuildCommand) Run(ctx context.Context, log *slog.Logger) error {
	if err := c.validate(); err != nil {
		return err
	}
	s, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer s.close()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "partition\tepoch\tdrops\topened\trestored\trevoked\tcorrected\ttook\t")
	show := func(r persist.Rebuilt, err error) error {
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%v\t\n", r.Partition, r.Epoch, r.Drops,
			r.Opened, r.Restored, r.Revoked, r.Corrected, r.Took.Round(time.Millisecond))
		return nil
	}
	if c.Drop != 0 {
		if _, err := s.store.Drop(ctx, c.Drop, 0); err != nil {
			return err
		}
		end := s.begin(ctx, "rebuild", c.Drop, nil)
		done, err := patiently(ctx, func() (persist.Rebuilt, error) { return s.recon.RebuildDrop(ctx, c.Drop) })
		end(outcome(done, err))
		err = show(done, err)
		return errors.Join(err, w.Flush())
	}
	for p := range s.engine.Partitions() {
		end := s.begin(ctx, "rebuild", 0, map[string]int{"partition": p})
		done, err := patiently(ctx, func() (persist.Rebuilt, error) { return s.recon.Rebuild(ctx, p) })
		end(outcome(done, err))
		if err := show(done, err); err != nil {
			return errors.Join(err, w.Flush())
		}
	}
	return w.Flush()
}

// outcome is what the admin log has of a rebuild.
func outcome(r persist.Rebuilt, err error) any {
	if err != nil {
		return refused(err)
	}
	return r
}

// rebuildPatience is how long an operator's rebuild waits for another one.
const rebuildPatience = 10 * time.Second

// patiently repeats a rebuild while another process is at the same partition.
func patiently(ctx context.Context, rebuild func() (persist.Rebuilt, error)) (persist.Rebuilt, error) {
	ctx, cancel := context.WithTimeout(ctx, rebuildPatience)
	defer cancel()
	for {
		done, err := rebuild()
		if !errors.Is(err, engine.ErrBusy) && !errors.Is(err, persist.ErrStaleEpoch) {
			return done, err
		}
		select {
		case <-ctx.Done():
			return done, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}
