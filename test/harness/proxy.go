package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	proxyConns       = 1024 // at once; further ones are reset
	proxyDialTimeout = 5 * time.Second
	proxyMatch       = 256 // bytes, the longest text to match
)

// Proxy stands between clients and a server, at a loopback address that stays,
// and breaks connections on demand. It passes everything on at first.
type Proxy struct {
	url      string
	network  string // of the server
	upstream string
	listener net.Listener
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[*proxyConn]struct{}
	cut   bool
	drop  dropping
	match []byte // what a request must contain to be dropped
}

type dropping int

const (
	dropNone dropping = iota
	dropNext
	dropAll
)

// NewProxy puts a proxy before the server at rawURL, a Redis or Postgres URL
// over TCP or a unix socket, until the end of the test.
func NewProxy(tb testing.TB, rawURL string) *Proxy {
	tb.Helper()
	p, err := newProxy(rawURL)
	if err != nil {
		tb.Fatalf("harness: proxy: %v", err)
	}
	tb.Cleanup(p.Close)
	return p
}

func newProxy(rawURL string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, conns: map[*proxyConn]struct{}{}}
	p.network, p.upstream, p.url, err = through(rawURL, l.Addr().String())
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.running.Go(p.accept)
	return p, nil
}

// URL is the server's URL with the proxy's address in place of its own.
func (p *Proxy) URL() string { return p.url }

// Addr is the proxy's address, 127.0.0.1:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Pass ends Cut, DropReplies and DropNextReply for new requests.
func (p *Proxy) Pass() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.drop = false, dropNone
}

// Cut resets all connections, and each new one at once, until Restore.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		c.close()
	}
}

// Restore ends Cut.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}

// DropReplies lets requests through but loses their replies: once the server
// has begun to answer, the client's connection is closed. Until Pass.
func (p *Proxy) DropReplies() { p.setDrop(dropAll, "") }

// DropNextReply does what DropReplies does, once: for the next request that
// contains the text match, of at most 256 bytes ("" for any, a connection's
// greeting included).
func (p *Proxy) DropNextReply(match string) { p.setDrop(dropNext, match) }

func (p *Proxy) setDrop(d dropping, match string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop, p.match = d, []byte(match)
}

// Close closes all connections and the address, and waits for the proxy's
// goroutines. It may be called again.
func (p *Proxy) Close() {
	p.cancel()
	_ = p.listener.Close() // fails only when closed before
	p.Cut()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.running.Go(func() { p.serve(conn) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	c := &proxyConn{proxy: p, client: client}
	if !p.add(c) {
		c.close()
		return
	}
	defer p.remove(c)
	defer c.close()
	d := net.Dialer{Timeout: proxyDialTimeout}
	server, err := d.DialContext(p.ctx, p.network, p.upstream)
	if err != nil {
		return // to the client as if the server had refused
	}
	if !c.attach(server) {
		return
	}
	p.running.Go(c.replies)
	c.requests()
}

func (p *Proxy) add(c *proxyConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut || len(p.conns) >= proxyConns || p.ctx.Err() != nil {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) remove(c *proxyConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// loses tells whether the reply to a request is to be lost; seen ends with the
// fresh bytes of the request, after older ones.
func (p *Proxy) loses(seen []byte, fresh int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	// A match may begin in what is older, but must end in what is fresh.
	from := max(0, len(seen)-fresh-max(0, len(p.match)-1))
	if p.drop == dropNone || !bytes.Contains(seen[from:], p.match) {
		return false
	}
	if p.drop == dropNext {
		p.drop = dropNone
	}
	return true
}

// proxyConn is one client's connection and its other half to the server.
type proxyConn struct {
	proxy  *Proxy
	client net.Conn

	mu     sync.Mutex
	server net.Conn
	closed bool
	lose   bool // the next reply
}

func (c *proxyConn) attach(server net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = server.Close() // never used
		return false
	}
	c.server = server
	return true
}

// close resets both halves.
func (c *proxyConn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	for _, half := range []net.Conn{c.client, c.server} {
		if tcp, ok := half.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset is what a broken network gives
		}
		if half != nil {
			_ = half.Close() // the other side may have closed it already
		}
	}
}

// requests passes what the client sends on, until either side is closed.
func (c *proxyConn) requests() {
	defer c.close()
	buf := make([]byte, 32<<10)
	var seen []byte // the end of what came before: a match may span two reads
	for {
		n, err := c.client.Read(buf)
		if n > 0 {
			seen = append(seen, buf[:n]...)
			if c.proxy.loses(seen, n) {
				c.mu.Lock()
				c.lose = true
				c.mu.Unlock()
				seen = seen[:0]
			}
			seen = append(seen[:0], seen[max(0, len(seen)-proxyMatch):]...)
			if _, err := c.server.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// replies passes what the server sends back, or closes the connection in its
// place.
func (c *proxyConn) replies() {
	defer c.close()
	buf := make([]byte, 32<<10)
	for {
		n, err := c.server.Read(buf)
		c.mu.Lock()
		lose := c.lose
		c.mu.Unlock()
		if n > 0 && !lose {
			if _, err := c.client.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil || lose {
			return
		}
	}
}

// through takes a server's address out of its URL and gives the URL by which
// clients reach it through the proxy at addr.
func through(rawURL, addr string) (network, upstream, proxied string, err error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", "", "", err
	}
	q := u.Query()
	network, upstream = "tcp", u.Host
	switch {
	case u.Scheme == "unix":
		db := "/" + q.Get("db")
		q.Del("db")
		network, upstream = "unix", u.Path
		u.Scheme, u.Path = "redis", db
	case strings.HasPrefix(u.Scheme, "postgres") && u.Host == "":
		network, upstream = "tcp", net.JoinHostPort(q.Get("host"), q.Get("port"))
		if strings.HasPrefix(q.Get("host"), "/") {
			network, upstream = "unix", q.Get("host")+"/.s.PGSQL."+q.Get("port")
		}
		q.Del("host")
		q.Del("port")
	case u.Port() == "" && u.Scheme == "redis":
		upstream = net.JoinHostPort(u.Hostname(), "6379")
	case u.Port() == "" && strings.HasPrefix(u.Scheme, "postgres"):
		upstream = net.JoinHostPort(u.Hostname(), "5432")
	case u.Port() == "":
		return "", "", "", fmt.Errorf("cannot stand before %q: want redis, unix or postgres", u.Scheme)
	}
	u.Host, u.RawQuery = addr, q.Encode()
	return network, upstream, u.String(), nil
}
