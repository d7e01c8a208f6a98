// Command holdfast sells limited drops: it holds a unit for a person for a
// short time, sells it or gives it back, and never sells one twice.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"
)

// version is set by the build.
var version = "dev"

// cli is every command with its flags; each flag can be given as HOLDFAST_<FLAG>.
type cli struct {
	Dev     devCommand     `cmd:"" help:"Run everything on this machine: a private Redis and Postgres, the API and the workers."`
	Serve   serveCommand   `cmd:"" help:"Run against your Redis and Postgres."`
	Migrate migrateCommand `cmd:"" help:"Bring the database to this version's schema."`
	Seed    seedCommand    `cmd:"" help:"Add sample drops and people."`
	Audit   auditCommand   `cmd:"" help:"Compare Redis with Postgres, every drop and size; exit 1 on a difference."`
	Doctor  doctorCommand  `cmd:"" help:"Check a deployment, and say how to mend what is wrong; exit 1 where something is."`
	Rebuild rebuildCommand `cmd:"" help:"Set Redis right from Postgres: all drops, or one."`
	Holds   holdsCommand   `cmd:"" help:"List who holds a unit, and what is overdue."`
	Release releaseCommand `cmd:"" help:"Give held units back: by reservation, or all that is overdue."`

	Webhooks webhooksCommand `cmd:"" help:"Show what waits for receivers of webhooks and what was given up, or send it once more."`

	Loadtest loadtestCommand `cmd:"" help:"Have many buyers come to a running instance, and audit it; exit 1 if it is wrong."`

	Version versionCommand `cmd:"" help:"Print the version."`

	Healthcheck healthcheckCommand `cmd:"" hidden:"" help:"Ask a running instance whether it is ready; exit 1 if not."`

	LogFormat string `env:"HOLDFAST_LOG_FORMAT" enum:"text,json" default:"text" help:"Form of the log on standard error: text or json."`
	LogLevel  string `env:"HOLDFAST_LOG_LEVEL" enum:"debug,info,warn,error" default:"info" help:"Least level that is logged: debug, info, warn or error."`
}

const description = `Holdfast holds a unit of a limited drop for a person for a short time, sells it or gives it back, and never sells one twice.

Start with "holdfast dev". Every flag can be set in the environment as HOLDFAST_<FLAG>; PORT is honoured too. Secrets can be given as files: HOLDFAST_<FLAG>_FILE has the path.`

// errDiffers ends the process with status 1 and no further word: the table has
// said it. So does the doctor's.
var errDiffers = errors.New("differences found")

func main() {
	var c cli
	parsed := kong.Parse(&c, kong.Name("holdfast"), kong.Description(description), kong.UsageOnError(),
		kong.Resolvers(secretFiles(os.LookupEnv)), kong.ValueFormatter(helpOfSecrets))
	log := c.logger()
	redis.SetLogger(redisLog{log})
	// The first signal asks for an orderly end; a second one ends at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	defer stop()

	parsed.BindTo(ctx, (*context.Context)(nil))
	switch err := parsed.Run(log); {
	case errors.Is(err, errDiffers):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "holdfast:", err)
		if lacksSchema(err) {
			fmt.Fprintln(os.Stderr, `holdfast: the database does not have this version's schema: run "holdfast migrate"`)
		}
		os.Exit(1)
	}
}

// lacksSchema is true where Postgres does not know a table or a column.
func lacksSchema(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "42703")
}

func (c *cli) logger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // kong has checked it
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run() error {
	fmt.Println("holdfast", version)
	return nil
}

// redisLog takes go-redis's own remarks, which repeat at every failed dial what
// the callers' errors say once.
type redisLog struct{ log *slog.Logger }

// Printf logs a remark at debug level.
func (l redisLog) Printf(ctx context.Context, format string, v ...any) {
	l.log.DebugContext(ctx, "go-redis", "remark", fmt.Sprintf(format, v...))
}
