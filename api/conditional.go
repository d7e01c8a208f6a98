package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"

	"github.com/gofiber/fiber/v2"
)

// Conditional requests (RFC 9110, section 13): who has an answer already is told
// so, and not sent it again.

// tagOf is the entity tag of a content: strong, and the same from every instance.
func tagOf(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

// conditional sets the headers of an answer that has a tag and is asked for
// anew each time, and says whether the caller has it: then it is a 304.
func conditional(c *fiber.Ctx, tag string) (had bool) {
	header := &c.Response().Header
	header.Set(fiber.HeaderETag, tag)
	header.Set(fiber.HeaderCacheControl, "no-cache")
	if given := c.Request().Header.PeekAll(fiber.HeaderIfNoneMatch); len(given) == 0 || !named(given, tag) {
		return false
	}
	c.Status(fiber.StatusNotModified)
	return true
}

// named says whether the values of If-None-Match, lists of tags or *, name the
// tag. W/ does not count: the comparison is weak. What is malformed names nothing.
func named(values [][]byte, tag string) bool {
	for _, rest := range values {
		if string(bytes.TrimSpace(rest)) == "*" {
			return true
		}
		for {
			rest = bytes.TrimLeft(rest, " \t,")
			rest = bytes.TrimPrefix(rest, []byte("W/"))
			if len(rest) == 0 || rest[0] != '"' {
				break
			}
			end := bytes.IndexByte(rest[1:], '"')
			if end < 0 {
				break
			}
			if string(rest[:end+2]) == tag {
				return true
			}
			rest = rest[end+2:]
		}
	}
	return false
}
