// Command watchers connects many WebSockets to one drop's live feed and notes
// when each was told what. It is a process of its own, so that its work does not
// count as the server's.
//
// It prints "ready" once every client has its snapshot. Each line that it reads
// then names a version: it waits until every client was told that or a later
// one, prints what it saw as a line of JSON, and writes all arrivals to the
// file, as pairs of little-endian int64: version, and time in Unix µs; each
// client begins with a pair of zeros.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
)

// Seen is what the clients saw since the last line.
type Seen struct {
	Clients  int   `json:"clients"`
	Right    int   `json:"right"`     // clients whose last frame has the version asked for or a later one, and the counts of the first such
	WentBack int64 `json:"went_back"` // frames with an older version than one before
	Frames   int64 `json:"frames"`    // of any kind
	Closed   int64 `json:"closed"`    // connections that ended
}

func main() {
	url := flag.String("url", "", "address of the feed, ws://…/ws?drops=…")
	clients := flag.Int("clients", 100, "how many clients watch")
	stalled := flag.Int("stalled", 0, "how many more connect and never read")
	out := flag.String("out", "", "file for the arrivals")
	flag.Parse()
	if err := run(*url, *clients, *stalled, *out); err != nil {
		fmt.Fprintln(os.Stderr, "watchers:", err)
		os.Exit(1)
	}
}

func run(url string, clients, stalled int, out string) error {
	var ready sync.WaitGroup
	all := make([]*client, clients)
	var firstErr atomic.Pointer[error]
	slots := make(chan struct{}, 64) // handshakes at once
	for i := range all {
		all[i] = &client{}
		ready.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := all[i].connect(url); err != nil {
				firstErr.CompareAndSwap(nil, &err)
			}
		})
	}
	idle := make([]*websocket.Conn, stalled)
	defer func() {
		for _, conn := range idle {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}()
	for i := range idle {
		var err error
		if idle[i], err = dial(url, 4<<10); err != nil {
			return err
		}
	}
	ready.Wait()
	if err := firstErr.Load(); err != nil {
		return *err
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		version, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			return err
		}
		if err := report(all, version, out); err != nil {
			return err
		}
	}
	return lines.Err()
}

// patience is how long clients may take to be told the last version.
const patience = 20 * time.Second

func report(all []*client, version int64, out string) error {
	deadline := time.Now().Add(patience)
	for _, c := range all {
		for c.version.Load() < version && time.Now().Before(deadline) && !c.closed.Load() {
			time.Sleep(5 * time.Millisecond)
		}
	}
	seen := Seen{Clients: len(all)}
	var file bytes.Buffer
	var last []byte
	pair := func(a, b int64) {
		file.Write(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(a)), uint64(b)))
	}
	for _, c := range all {
		pair(0, 0) // where a client begins
		c.mu.Lock()
		for _, a := range c.arrivals {
			pair(a.version, a.micros)
		}
		c.arrivals = c.arrivals[:0]
		if c.version.Load() >= version {
			if last == nil {
				last = bytes.Clone(c.counts)
			}
			if bytes.Equal(last, c.counts) {
				seen.Right++
			}
		}
		c.mu.Unlock()
		seen.Frames += c.frames.Swap(0)
		seen.WentBack += c.wentBack.Swap(0)
		if c.closed.Load() {
			seen.Closed++
		}
	}
	if err := os.WriteFile(out, file.Bytes(), 0o600); err != nil {
		return err
	}
	line, err := json.Marshal(struct {
		Seen
		Last string `json:"last"`
	}{seen, string(last)})
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%s\n", line)
	return err
}

// client is one watcher.
type client struct {
	conn     *websocket.Conn
	version  atomic.Int64
	frames   atomic.Int64
	wentBack atomic.Int64
	closed   atomic.Bool

	mu       sync.Mutex
	arrivals []arrival
	counts   []byte // of the last stock_update: available_stock … version
}

type arrival struct{ version, micros int64 }

func dial(url string, readBuffer int) (*websocket.Conn, error) {
	d := websocket.Dialer{
		HandshakeTimeout: 30 * time.Second, ReadBufferSize: 2048, WriteBufferSize: 128,
		NetDial: func(network, address string) (net.Conn, error) {
			conn, err := net.DialTimeout(network, address, 10*time.Second)
			if tcp, ok := conn.(*net.TCPConn); ok && readBuffer > 0 {
				err = errors.Join(err, tcp.SetReadBuffer(readBuffer))
			}
			return conn, err
		},
	}
	conn, res, err := d.Dial(url, nil)
	if err != nil && res != nil {
		return nil, fmt.Errorf("%w: %s", err, res.Status)
	}
	return conn, err
}

func (c *client) connect(url string) (err error) {
	if c.conn, err = dial(url, 0); err != nil {
		return err
	}
	if _, _, err = c.conn.ReadMessage(); err != nil {
		return err
	}
	go c.watch(c.conn.NetConn())
	return nil
}

// watch reads frames from the connection itself, a whole round in one read, and
// looks only for what it has to know: the fewer the work here, the more of the
// machine is the server's. Pings need no answer in the time that a round takes.
func (c *client) watch(conn net.Conn) {
	defer c.closed.Store(true)
	buf := make([]byte, 4<<10)
	filled := 0
	for {
		n, err := conn.Read(buf[filled:])
		if err != nil {
			return
		}
		now := time.Now().UnixMicro()
		filled += n
		at := 0
		for {
			payload, next, whole := nextFrame(buf[at:filled])
			if !whole {
				break
			}
			c.frames.Add(1)
			if bytes.HasPrefix(payload, []byte(`{"event":"stock_update"`)) {
				c.take(payload, now)
			}
			at += next
		}
		filled = copy(buf, buf[at:filled])
		if filled == len(buf) {
			buf = slices.Grow(buf, len(buf))[:2*len(buf)]
		}
	}
}

// nextFrame splits the first frame off, which a server sends unmasked (RFC 6455,
// section 5.2).
func nextFrame(b []byte) (payload []byte, size int, whole bool) {
	if len(b) < 2 {
		return nil, 0, false
	}
	header, length := 2, int(b[1])
	switch length {
	case 126:
		header = 4
		if len(b) < header {
			return nil, 0, false
		}
		length = int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		header = 10
		if len(b) < header {
			return nil, 0, false
		}
		length = int(binary.BigEndian.Uint64(b[2:]))
	}
	if len(b) < header+length {
		return nil, 0, false
	}
	return b[header : header+length], header + length, true
}

// take notes a stock_update and when it came.
func (c *client) take(frame []byte, micros int64) {
	const before = `"version":`
	at := bytes.Index(frame, []byte(before))
	rest := frame[at+len(before):]
	version, err := strconv.ParseInt(string(rest[:max(0, bytes.IndexByte(rest, ','))]), 10, 64)
	if at < 0 || err != nil || version < c.version.Load() {
		c.wentBack.Add(1) // a frame without a version is no better
		return
	}
	from := bytes.Index(frame, []byte(`"available_stock"`))
	c.mu.Lock()
	c.arrivals = append(c.arrivals, arrival{version, micros})
	c.counts = append(c.counts[:0], frame[from:at]...)
	c.mu.Unlock()
	c.version.Store(version)
}
