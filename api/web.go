package api

import (
	"embed"
	"fmt"
	"io/fs"
	"path"

	"github.com/gofiber/fiber/v2"
)

// The shop page and the console: plain files, sent as they are.
//
//go:embed web
var webFiles embed.FS

// contentPolicy lets the pages load and call nothing but this server. Pictures
// of drops may come from anywhere, since an operator gives their addresses.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"img-src 'self' data: http: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// webTypes are the content types of web/: those that the machine has registered
// may be anything.
var webTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// pages serves index.html at /, console.html at /console, and every file of
// web/ below /assets/.
func (a *API) pages() error {
	names := map[string]string{"index.html": "/", "console.html": "/console"}
	return fs.WalkDir(webFiles, "web", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := webFiles.ReadFile(file)
		if err != nil {
			return fmt.Errorf("api: %w", err)
		}
		name := file[len("web/"):]
		at := names[name]
		if at == "" {
			at = "/assets/" + name
		}
		kind, ok := webTypes[path.Ext(name)]
		if !ok {
			return fmt.Errorf("api: no content type for %s", name)
		}
		if at == "/console" {
			a.app.Get(at, a.backOnly, sendFile(kind, content))
			return nil
		}
		a.app.Get(at, sendFile(kind, content))
		return nil
	})
}

// sendFile answers with content, or 304 where the client has it.
func sendFile(kind string, content []byte) fiber.Handler {
	tag := tagOf(content)
	return func(c *fiber.Ctx) error {
		if conditional(c, tag) {
			return nil
		}
		c.Set(fiber.HeaderContentType, kind)
		c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
		c.Set(fiber.HeaderReferrerPolicy, "no-referrer")
		c.Set(fiber.HeaderContentSecurityPolicy, contentPolicy)
		return c.Send(content)
	}
}
