package api_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// bytes sends what no HTTP client would, and fails unless there is one answer
// and then the end of the connection.
func (c *client) bytes(t *testing.T, request string) reply {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(c.url, "http://"))
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = io.WriteString(conn, request)
	must(t, err)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	must(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(t, err)
	r := reply{status: resp.StatusCode, header: resp.Header, raw: raw}
	must(t, json.Unmarshal(raw, &r.body))
	c.checkError(t, r)
	if more, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the answer to %.200q: %q, %v", request, more, err)
	}
	return r
}

func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const request = "GET /healthz HTTP/1.1\r\nHost: x\r\nCookie: session=secret\r\n"
	for _, line := range []string{
		"Bad\x01Name: 1", "Name: bad\x01value", "no colon", ": no name", "Content-Length: x", "Content-Length: -1",
		"Transfer-Encoding: gzip", "Content-Length: 0\r\nContent-Length: 0",
	} {
		r := s.bytes(t, request+line+"\r\n\r\n")
		if r.status != 400 || string(r.raw) != `{"error":"Malformed request","code":"invalid_request","field":"request"}` {
			t.Errorf("%q: answer %d %s", line, r.status, r.raw)
		}
	}
	r := s.bytes(t, request+"Large: "+strings.Repeat("a", 9<<10)+"\r\n\r\n")
	if r.status != 431 || string(r.raw) != `{"error":"Request headers too large","code":"invalid_request","field":"request"}` {
		t.Errorf("large headers: answer %d %s", r.status, r.raw)
	}
}

func TestTwoLengths(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const body = `{"username":"ada"}` // of 0x12 bytes
	s.leavesNoTrace(t, func() {
		for headers, body := range map[string]string{
			"Content-Length: 28\r\nTransfer-Encoding: chunked":    "12\r\n" + body + "\r\n0\r\n\r\n",
			"Transfer-Encoding: chunked\r\nContent-Length: 28":    "12\r\n" + body + "\r\n0\r\n\r\n",
			"transfer-encoding: Chunked\r\ncontent-length: 4":     "12\r\n" + body + "\r\n0\r\n\r\n",
			"Transfer-Encoding: identity\r\nContent-Length: 18":   body,
			"Transfer-Encoding : chunked\r\nContent-Length: 18":   body,
			"Content-Length: 18\r\nX: y\r\n Transfer-Encoding: x": body,
		} {
			post := "POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
			r := s.bytes(t, post+headers+"\r\n\r\n"+body+post+"Content-Length: 18\r\n\r\n"+body)
			if r.status != 400 || r.body["code"] != "invalid_request" {
				t.Errorf("%q: answer %d %s", headers, r.status, r.raw)
			}
		}
	})
	s.chunked(t, "/api/users", body).want(t, 201)
}
