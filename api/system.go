package api

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"go.yaml.in/yaml/v3"
)

var (
	//go:embed openapi.yaml
	openapiYAML []byte
	//go:embed docs.html
	docsHTML []byte
)

// describe serves the API's own description.
func (a *API) describe() error {
	var doc any
	if err := yaml.Unmarshal(openapiYAML, &doc); err != nil {
		return fmt.Errorf("api: openapi.yaml: %w", err)
	}
	asJSON, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("api: openapi.yaml as JSON: %w", err)
	}
	static := func(kind string, content []byte) fiber.Handler {
		return func(c *fiber.Ctx) error {
			c.Set(fiber.HeaderContentType, kind)
			return c.Send(content)
		}
	}
	a.app.Get("/openapi.yaml", static("application/yaml", openapiYAML))
	a.app.Get("/openapi.json", static(fiber.MIMEApplicationJSON, asJSON))
	a.app.Get("/docs", static(fiber.MIMETextHTMLCharsetUTF8, docsHTML))
	return nil
}

// healthz says that the process runs: it asks nobody.
func (a *API) healthz(c *fiber.Ctx) error {
	return c.JSON(fiber.Map{"status": "ok"})
}

type readiness struct {
	Status   string   `json:"status"`
	Redis    string   `json:"redis"`
	Postgres string   `json:"postgres"`
	Fenced   int      `json:"fenced_partitions"`
	Roles    []string `json:"roles"`
	Version  string   `json:"version"`
	FairUse  string   `json:"fair_use"`
}

// readyTimeout bounds the questions of readyz.
const readyTimeout = 2 * time.Second

// readyz says whether this instance can serve. Without Postgres it can: it
// sells on, and the ledger waits.
func (a *API) readyz(c *fiber.Ctx) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	var redisErr, postgresErr error
	var wg sync.WaitGroup
	wg.Go(func() { redisErr = a.engine.Ping(ctx) })
	wg.Go(func() { postgresErr = a.catalogue.store.Ping(ctx) })
	wg.Wait()
	r := readiness{Status: "ready", Redis: "ok", Postgres: "ok", Roles: a.cfg.Roles, Version: a.cfg.Version, FairUse: a.fairUse()}
	status := fiber.StatusOK
	if postgresErr != nil {
		r.Status, r.Postgres = "degraded", "no answer"
	}
	// A partition is fenced for moments after a change of Redis; the others sell.
	if r.Fenced = len(a.engine.Fenced()); r.Fenced > 0 {
		r.Status = "degraded"
	}
	if r.Fenced == a.engine.Partitions() {
		r.Status = "unavailable"
		status = fiber.StatusServiceUnavailable
	}
	if redisErr != nil {
		r.Status, r.Redis = "unavailable", "no answer"
		status = fiber.StatusServiceUnavailable
	}
	return c.Status(status).JSON(r)
}
