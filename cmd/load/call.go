package load

import (
	"fmt"
	"net/url"
	"strconv"
)

// Call is one kind of request, prebuilt but for its body. It is safe for
// concurrent use.
type Call struct {
	name, method string
	path         string
	head         []byte // of the HTTP request, up to the headers that vary
}

// NewCall prepares requests to path (with its query) at the server of base, such
// as http://127.0.0.1:3000. Its figures are counted under name.
func NewCall(name, method, base, path string) (*Call, error) {
	u, err := ParseURL(base)
	if err != nil {
		return nil, err
	}
	at, err := u.Parse(path)
	if err != nil {
		return nil, err
	}
	if at.Host != u.Host {
		return nil, fmt.Errorf("no path of %s: %q", base, path)
	}
	c := &Call{name: name, method: method, path: at.RequestURI()}
	c.head = fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, c.path, at.Host)
	if method == "POST" {
		c.head = append(c.head, "Content-Type: application/json\r\n"...)
	}
	return c, nil
}

// ParseURL reads the base address of a server; the error says what one looks
// like.
func ParseURL(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is no address like http://127.0.0.1:3000", base)
	}
	return u, nil
}

// request appends the whole request to b. header holds names and values in turn.
func (c *Call) request(b, body []byte, header []string) []byte {
	b = append(b, c.head...)
	for i := 0; i+1 < len(header); i += 2 {
		b = append(b, header[i]...)
		b = append(b, ": "...)
		b = append(b, header[i+1]...)
		b = append(b, "\r\n"...)
	}
	if len(body) > 0 || c.method == "POST" {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, int64(len(body)), 10)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	return append(b, body...)
}
