package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func postgresStopped() fault {
	return act{"Postgres stopped",
		always(func(w *world) { w.own.StopPostgres() }), always(func(w *world) { w.own.StartPostgres() })}
}

func postgresKilled() fault {
	return act{"Postgres killed",
		always(func(w *world) { w.own.KillPostgres() }), always(func(w *world) { w.own.StartPostgres() })}
}

// slowPostgres adds half a second to every answer.
func slowPostgres(w *world) fault {
	return badWires{w.wires(toPostgres, w.instances...), []toxic{
		{"slow", "latency", "downstream", 1, map[string]any{"latency": 500, "jitter": 50}},
	}}
}

// commitUnknown has transactions commit and nobody told.
func commitUnknown() fault {
	return &nagging{
		name: "outcome of commits unknown", every: 150 * time.Millisecond,
		do:   func(_ context.Context, w *world) { w.postgresReplies.DropNextReply("commit") },
		mend: always(func(w *world) { w.postgresReplies.Pass() }),
	}
}

// hogged has somebody else take every connection that Postgres gives.
type hogged struct {
	mu    sync.Mutex
	conns []*pgx.Conn
	stop  context.CancelFunc
	gone  sync.WaitGroup
}

func (*hogged) String() string { return "Postgres out of connections" }

func (f *hogged) inject(w *world) error {
	conf, err := pgx.ParseConfig(w.own.DatabaseURL)
	if err != nil {
		return err
	}
	conf.RuntimeParams["application_name"] = "hog"
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	staged := make(chan struct{})
	var once sync.Once
	for range 4 {
		f.gone.Go(func() {
			for ctx.Err() == nil {
				c, err := pgx.ConnectConfig(ctx, conf)
				if err == nil {
					f.mu.Lock()
					f.conns = append(f.conns, c)
					f.mu.Unlock()
					// Those who had one lose it, and find it taken.
					_, _ = c.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
						WHERE backend_type = 'client backend' AND application_name <> 'hog'`)
					continue
				}
				if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) && refused.Code == "53300" {
					once.Do(func() { close(staged) })
				}
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	select {
	case <-staged:
		return nil
	case <-time.After(30 * time.Second):
		return errors.New("there are still connections to be had")
	}
}

func (f *hogged) heal(*world) error {
	f.stop()
	f.gone.Wait()
	for _, c := range f.conns {
		_ = c.Close(context.Background())
	}
	f.conns = nil
	return nil
}

// diskFull moves the tables that the writer fills to a small file system of
// their own and fills that; healed, they move back.
type diskFull struct {
	dir string
}

func (*diskFull) String() string { return "Postgres's disk full" }

// movable are the tables that the writer adds rows to.
var movable = []string{"reservations", "purchases", "drop_sizes"}

func (f *diskFull) inject(w *world) (err error) {
	if f.dir, err = smallDisk(); err != nil {
		return fmt.Errorf("a small disk cannot be staged: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	statements := make([]string, 0, 8)
	statements = append(statements, fmt.Sprintf("CREATE TABLESPACE small LOCATION '%s'", filepath.Join(f.dir, "space")))
	for _, table := range movable {
		statements = append(statements, "ALTER TABLE "+table+" SET TABLESPACE small")
	}
	// Pages with room would take rows for a while yet.
	for _, s := range append(statements, "CHECKPOINT") {
		if _, err := w.db.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	if err := fill(filepath.Join(f.dir, "filler")); err != nil {
		return err
	}
	// A full disk that nobody notices would show nothing.
	_, err = w.db.Exec(ctx, "CREATE TABLE probe TABLESPACE small AS SELECT repeat('x', 500) FROM generate_series(1, 1000)")
	if refused := (*pgconn.PgError)(nil); !errors.As(err, &refused) || refused.Code != "53100" {
		return fmt.Errorf("the disk is not full: %w", err)
	}
	return nil
}

func (f *diskFull) heal(w *world) error {
	if err := os.Remove(filepath.Join(f.dir, "filler")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, table := range movable {
		if _, err := w.db.Exec(ctx, "ALTER TABLE "+table+" SET TABLESPACE pg_default"); err != nil {
			return err
		}
	}
	if _, err := w.db.Exec(ctx, "DROP TABLESPACE small"); err != nil {
		return err
	}
	return removeDisk(f.dir)
}

// fill writes until there is no room.
func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	for _, size := range []int{64 << 10, 4096, 512} {
		for block := make([]byte, size); ; {
			if _, err := file.Write(block); err != nil {
				break // full, to this size
			}
		}
	}
	return file.Close()
}

// ownedByPostgres gives a folder to the user whom Postgres runs as where that
// is another than the test's.
func ownedByPostgres(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return errors.Join(err1, err2, os.Chown(dir, uid, gid))
}
