package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
)

// watcher is one WebSocket on the drop's live feed, as docs/LIVE.md describes it.
type watcher struct {
	conn *websocket.Conn

	mu       sync.Mutex
	counts   counts
	version  int64
	frames   int64
	wentBack int64
	closed   error // why the connection ended
}

// audience is all watchers.
type audience struct {
	all     []*watcher
	reading sync.WaitGroup
}

// watch connects n watchers to the drop's feed; each has its snapshot when it returns.
func watch(ctx context.Context, base string, id int64, n int) (*audience, error) {
	address := "ws" + strings.TrimPrefix(strings.TrimSuffix(base, "/"), "http") + fmt.Sprintf("/ws?drops=%d", id)
	a := &audience{all: make([]*watcher, n)}
	const atOnce = 64
	slots := make(chan struct{}, atOnce)
	errs := make(chan error, n)
	for i := range a.all {
		a.all[i] = &watcher{}
		slots <- struct{}{}
		go func() {
			errs <- a.all[i].connect(ctx, address, id)
			<-slots
		}()
	}
	var failed error
	for range a.all {
		if err := <-errs; err != nil && failed == nil {
			failed = err
		}
	}
	for _, w := range a.all {
		if w.conn != nil {
			a.reading.Go(w.read)
		}
	}
	if failed != nil {
		a.leave()
		return nil, fmt.Errorf("watchers: %w", failed)
	}
	return a, nil
}

func (w *watcher) connect(ctx context.Context, address string, id int64) error {
	dialer := websocket.Dialer{HandshakeTimeout: callTimeout, ReadBufferSize: 2 << 10, WriteBufferSize: 256}
	conn, res, err := dialer.DialContext(ctx, address, nil) //nolint:bodyclose // the dialer has read what it gives, and closed it
	if err != nil {
		if res != nil {
			r := &refusal{Status: res.StatusCode}
			_ = json.NewDecoder(res.Body).Decode(&r.Body) // the status says enough
			err = r
		}
		return err
	}
	w.conn = conn
	conn.SetReadLimit(1 << 20)
	if err := conn.SetReadDeadline(time.Now().Add(callTimeout)); err != nil {
		return err
	}
	var first struct {
		Event string
		Data  struct{ Drops []drop }
	}
	if err := conn.ReadJSON(&first); err != nil {
		return err
	}
	if first.Event != "snapshot" {
		return fmt.Errorf("the feed begins with %q", first.Event)
	}
	w.frames = 1
	for _, d := range first.Data.Drops { // none where it is so new that it is told later
		if d.ID != id {
			return fmt.Errorf("drop %d was asked for, the feed tells of %d", id, d.ID)
		}
		w.counts, w.version = d.counts, d.Version
	}
	return conn.SetReadDeadline(time.Time{}) // read ends when the connection is closed
}

// read takes frames until the connection ends.
func (w *watcher) read() {
	var frame bytes.Buffer
	for {
		_, r, err := w.conn.NextReader()
		if err == nil {
			frame.Reset()
			_, err = frame.ReadFrom(r)
		}
		if err != nil {
			w.mu.Lock()
			w.closed = err
			w.mu.Unlock()
			return
		}
		w.take(frame.Bytes())
	}
}

// take notes what a frame says: only numbers are looked for, as there may be many
// thousands of frames a second.
func (w *watcher) take(frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frames++
	version, found := number(frame, nameVersion)
	if !found {
		return // of the time
	}
	c, _, hasCounts := countsIn(frame)
	switch {
	case bytes.HasPrefix(frame, []byte(`{"event":"snapshot"`)):
		// All is new: the server may have gone back itself.
	case version < w.version:
		w.wentBack++
		return
	}
	w.version = version
	if hasCounts {
		w.counts = c
	}
}

// standing is how watchers stand against the drop as the API tells it.
type standing struct {
	behind, wrong, closed int64
	frames, wentBack      int64
	why                   error // of one that is closed
}

func (a *audience) against(d drop) (s standing) {
	for _, w := range a.all {
		w.mu.Lock()
		s.frames += w.frames
		s.wentBack += w.wentBack
		switch {
		case w.closed != nil:
			s.closed++
			s.why = w.closed
		case w.version < d.Version:
			s.behind++
		case w.version == d.Version && w.counts != d.counts:
			s.wrong++
		case w.version > d.Version:
			s.behind++ // the drop's reading is; another will tell
		}
		w.mu.Unlock()
	}
	return s
}

// leave closes all connections.
func (a *audience) leave() {
	for _, w := range a.all {
		if w.conn != nil {
			_ = w.conn.Close()
		}
	}
	a.reading.Wait()
}

// tooManyWatchers says what to do where the server has a limit.
func tooManyWatchers(err error) error {
	var r *refusal
	if errors.As(err, &r) && r.Status == http.StatusTooManyRequests {
		return fmt.Errorf("%w: the instance needs HOLDFAST_MAX_SOCKETS_PER_ADDRESS", err)
	}
	return err
}
