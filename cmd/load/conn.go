package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	maxBody = 16 << 20 // bytes of an answer

	// idleLimit is how long a connection may rest before it is replaced rather
	// than used: its server may be about to close it.
	idleLimit = 20 * time.Second
	// redialPause keeps workers from dialling a server that is away in a loop.
	redialPause = 50 * time.Millisecond
)

var errDial = errors.New("cannot connect")

// conn is one keep-alive connection, dialled anew where it has broken.
type conn struct {
	address string
	tls     *tls.Config // nil for http
	timeout time.Duration

	net      net.Conn // nil while there is none
	in       *bufio.Reader
	used     time.Time // when the last answer came
	deadline time.Time // as set on net
	out      []byte
	res      fasthttp.Response
}

func newConn(base *url.URL, timeout time.Duration) *conn {
	c := &conn{address: base.Host, timeout: timeout}
	port := "80"
	if base.Scheme == "https" {
		port = "443"
		c.tls = &tls.Config{ServerName: base.Hostname(), MinVersion: tls.VersionTLS12}
	}
	if base.Port() == "" {
		c.address = net.JoinHostPort(base.Hostname(), port)
	}
	c.res.Header.DisableNormalizing()
	return c
}

func (c *conn) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var err error
	if c.tls != nil {
		c.net, err = (&tls.Dialer{Config: c.tls}).DialContext(ctx, "tcp", c.address)
	} else {
		c.net, err = (&net.Dialer{}).DialContext(ctx, "tcp", c.address)
	}
	if err != nil {
		c.net = nil
		return errors.Join(errDial, err)
	}
	if c.in == nil {
		c.in = bufio.NewReader(c.net)
	} else {
		c.in.Reset(c.net)
	}
	c.used, c.deadline = time.Now(), time.Time{}
	return nil
}

func (c *conn) close() {
	if c.net != nil {
		_ = c.net.Close()
		c.net = nil
	}
}

// ready sees to it that there is a connection that can be used now.
func (c *conn) ready(ctx context.Context, now time.Time) error {
	if c.net != nil && now.Sub(c.used) > idleLimit {
		c.close()
	}
	if c.net == nil {
		if err := c.dial(ctx); err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(redialPause):
			}
			return err
		}
	}
	// A deadline costs more than a call should: it is moved on once a second,
	// so a call has its timeout or up to a second more.
	if c.deadline.Sub(now) < c.timeout {
		c.deadline = now.Add(c.timeout + time.Second)
		return c.net.SetDeadline(c.deadline)
	}
	return nil
}

// roundTrip sends what is in c.out and reads the answer into c.res.
func (c *conn) roundTrip() error {
	if _, err := c.net.Write(c.out); err != nil {
		c.close()
		return err
	}
	if err := c.res.ReadLimitBody(c.in, maxBody); err != nil {
		c.close()
		return err
	}
	if c.res.ConnectionClose() {
		c.close()
	}
	return nil
}
