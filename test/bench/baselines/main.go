package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/gofiber/fiber/v2"
)

// settings are the flags.
type settings struct {
	addr     string
	kind     string
	database string
	people   int
	pool     int
	batch    int
	flights  int
	single   bool
	list     string
}

func main() {
	var s settings
	flag.StringVar(&s.addr, "addr", "127.0.0.1:3000", "address to listen at")
	flag.StringVar(&s.kind, "kind", "", "constant, rowlock, statement or grouped")
	flag.StringVar(&s.database, "database", "", "URL of an empty database, or of one that a baseline has used")
	flag.IntVar(&s.people, "people", 1000, "how many people there are, with the ids 1, 2, …")
	flag.IntVar(&s.pool, "pool", 0, "connections to Postgres (default: what measured best)")
	flag.IntVar(&s.batch, "batch", 256, "grouped: most requests in one statement")
	flag.IntVar(&s.flights, "flights", 1, "grouped: statements under way at once for one drop, and for purchases")
	flag.BoolVar(&s.single, "single-purchases", false, "grouped: only reserves are grouped")
	flag.StringVar(&s.list, "list", "", "constant: file with the answer to GET /api/drops")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := s.serve(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "baselines:", err)
		os.Exit(1)
	}
}

// serve serves until ctx ends.
func (s settings) serve(ctx context.Context) error {
	app := fiber.New(fiber.Config{DisableStartupMessage: true, ErrorHandler: fail, BodyLimit: 16 << 10})
	if s.kind == "constant" {
		if err := constant(app, s.list); err != nil {
			return err
		}
		return listen(ctx, app, s.addr)
	}
	db, err := openDatabase(ctx, s)
	if err != nil {
		return err
	}
	defer db.pool.Close()
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	defer func() {
		cancel()
		working.Wait()
	}()

	var seller seller
	switch s.kind {
	case "rowlock":
		seller = &rowlock{db}
	case "statement":
		seller = &statement{db}
	case "grouped":
		g := newGrouped(ctx, db, s)
		working.Go(g.wait)
		seller = g
	default:
		return fmt.Errorf("no such kind: %q", s.kind)
	}
	working.Go(func() { db.sweep(ctx) })
	routes(app, db, seller)
	return listen(ctx, app, s.addr)
}

func listen(ctx context.Context, app *fiber.App, addr string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- app.Listener(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		// Connections that are kept alive would keep it waiting.
		return errors.Join(l.Close(), <-done)
	}
}
