package api_test

import (
	"bytes"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast/holdfast/api"
)

// kinds are the Content-Types of files by their extension.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// webFiles are the files of web/ by the paths they are served at.
func webFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	root := os.DirFS("web")
	must(t, fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(path.Base(name), ".") {
			return err
		}
		at := "/assets/" + name
		switch name {
		case "index.html":
			at = "/"
		case "console.html":
			at = "/console"
		}
		files[at], err = fs.ReadFile(root, name)
		return err
	}))
	for _, page := range []string{"/", "/console"} {
		if len(files[page]) == 0 {
			t.Fatalf("no file for %s", page)
		}
	}
	return files
}

// fetch asks for a page or a file of web/. Pages are in openapi.yaml, files are not.
func (c *client) fetch(t *testing.T, path, ifNoneMatch string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url+path, nil)
	must(t, err)
	if ifNoneMatch != "" {
		request.Header.Set("If-None-Match", ifNoneMatch)
	}
	r := c.send(t, request)
	if !strings.HasPrefix(path, "/assets/") {
		c.check(t, request, r)
	}
	return r
}

func TestPagesAndTheirFiles(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for at, content := range webFiles(t) {
		kind := kinds[path.Ext(at)]
		if !strings.HasPrefix(at, "/assets/") {
			kind = kinds[".html"]
		}
		r := s.fetch(t, at, "")
		if r.status != 200 || !bytes.Equal(r.raw, content) {
			t.Errorf("%s: answer %d of %d bytes, want the file's %d", at, r.status, len(r.raw), len(content))
		}
		if got := r.header.Get("Content-Type"); got != kind || kind == "" {
			t.Errorf("%s: Content-Type %q, want %q", at, got, kind)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
		} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %s %q, want %q", at, name, got, want)
			}
		}
		checkPolicy(t, at, r.header.Get("Content-Security-Policy"))

		tag := r.header.Get("Etag")
		if len(tag) < 10 || tag[0] != '"' || tag[len(tag)-1] != '"' {
			t.Errorf("%s: ETag %s", at, tag)
		}
		if r := s.fetch(t, at, tag); r.status != 304 || len(r.raw) > 0 || r.header.Get("Etag") != tag {
			t.Errorf("%s that the client has: answer %d of %d bytes, ETag %s", at, r.status, len(r.raw), r.header.Get("Etag"))
		}
		if r := s.fetch(t, at, `"another"`); r.status != 200 || !bytes.Equal(r.raw, content) {
			t.Errorf("%s of another version: answer %d of %d bytes", at, r.status, len(r.raw))
		}
	}
	for _, path := range []string{"/", "/console"} {
		s.do(t, http.MethodHead, path, "", nil).want(t, 200)
		s.do(t, http.MethodPost, path, "", nil).refused(t, 405, "method_not_allowed", "Method not allowed")
	}
	for _, path := range []string{
		"/index.html", "/console.html", "/assets", "/assets/", "/assets/js", "/assets/js/", "/assets/index.html", "/assets/console.html",
		"/assets/js/none.js", "/assets/../web.go", "/assets/%2e%2e/web.go", "/assets/js/..%2f..%2fweb.go",
	} {
		s.get(t, path).refused(t, 404, "not_found", "Route not found")
	}
}

// checkPolicy fails unless the page may run and load nothing but this server's,
// pictures aside.
func checkPolicy(t *testing.T, at, policy string) {
	t.Helper()
	directives := map[string]string{}
	for d := range strings.SplitSeq(policy, ";") {
		name, sources, _ := strings.Cut(strings.TrimSpace(d), " ")
		directives[name] = sources
	}
	for name, want := range map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
		"base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
	} {
		if directives[name] != want {
			t.Errorf("%s: Content-Security-Policy %q, want %s %s", at, policy, name, want)
		}
	}
}

// TestFileKindsAreNotTheMachines: a browser runs no script of another kind, and
// a machine's table of kinds may say anything.
func TestFileKindsAreNotTheMachines(t *testing.T) { //nolint:paralleltest // the table is the process's
	for ext, kind := range kinds {
		t.Cleanup(func() { must(t, mime.AddExtensionType(ext, kind)) })
		must(t, mime.AddExtensionType(ext, "text/x-nonsense"))
	}
	s := newServer(t)
	for at := range webFiles(t) {
		kind := kinds[path.Ext(at)]
		if kind == "" {
			kind = kinds[".html"]
		}
		if got := s.fetch(t, at, "").header.Get("Content-Type"); got != kind {
			t.Errorf("%s: Content-Type %q, want %q", at, got, kind)
		}
	}
}

// What the Content-Security-Policy would have the browser refuse.
var (
	comments = regexp.MustCompile(`(?s)<!--.*?-->`)
	inline   = map[string]*regexp.Regexp{
		"an inline script":        regexp.MustCompile(`(?is)<script\b[^>]*>\s*[^\s<]`),
		"a script without source": regexp.MustCompile(`(?i)<script\b(?:[^>s]|s[^>r])*>`),
		"an inline style":         regexp.MustCompile(`(?i)<style\b|<[^>]*\sstyle\s*=`),
		"an inline handler":       regexp.MustCompile(`(?i)<[^>]*\son[a-z]+\s*=`),
		"a javascript: address":   regexp.MustCompile(`(?i)<[^>]*=\s*["']?\s*javascript:`),
		"a base":                  regexp.MustCompile(`(?i)<base\b`),
	}
)

func TestPagesHaveNothingInline(t *testing.T) {
	t.Parallel()
	for at, content := range webFiles(t) {
		if ext := path.Ext(at); ext != "" && ext != ".html" && ext != ".svg" {
			continue
		}
		for what, pattern := range inline {
			if found := pattern.Find(comments.ReplaceAll(content, nil)); found != nil {
				t.Errorf("%s has %s: %.100q", at, what, found)
			}
		}
	}
}

// References of one file to another.
var references = map[string]*regexp.Regexp{
	".html": regexp.MustCompile(`<(?:script|link|img)\b[^>]*?\s(?:src|href)="([^"]*)"`),
	".css":  regexp.MustCompile(`(?:url\(|@import )\s*["']?([^"')]+)`),
	".js":   regexp.MustCompile(`(?m)(?:\bfrom|^import|\bimport\()\s*["']([^"']+)["']`),
}

func TestPagesFindAllTheyLoad(t *testing.T) {
	t.Parallel()
	files := webFiles(t)
	loaded := map[string]bool{"/": true, "/console": true}
	for at, content := range files {
		ext := path.Ext(at)
		if ext == "" {
			ext = ".html"
		}
		if references[ext] == nil {
			continue
		}
		for _, m := range references[ext].FindAllSubmatch(content, -1) {
			to := string(m[1])
			if strings.HasPrefix(to, "data:") {
				continue
			}
			if !strings.HasPrefix(to, "/") {
				to = path.Join(path.Dir(at), to)
			}
			if files[to] == nil {
				t.Errorf("%s loads %q, which is no file of web/", at, m[1])
			}
			loaded[to] = true
		}
	}
	for at := range files {
		if !loaded[at] {
			t.Errorf("nothing loads %s", at)
		}
	}
}

func TestNoPagesWithoutTheRoleOfAnAPI(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(w *wiring) { w.api = func(c *api.Config) { c.Roles = []string{"expirer", "writer"} } })
	for at := range webFiles(t) {
		s.get(t, at).refused(t, 404, "not_found", "Route not found")
	}
	for _, path := range []string{"/ws", "/socket.io/", "/api/admin/figures?drop=1", "/api/drops/1/holds"} {
		s.get(t, path).refused(t, 404, "not_found", "Route not found")
	}
}
