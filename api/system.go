package api

import (
	_ "embed"
	"encoding/json"
	"fmt"

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
