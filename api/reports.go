package api

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// reports are what reads a lot: few are made at once.
type reports struct {
	auditor *persist.Auditor
	audits  chan struct{} // a place for each audit under way
	exports chan struct{} // and for each list of sales
}

const (
	maxAudits  = 1
	maxExports = 4
	// auditTries is how often an audit looks again at what differs or changes.
	auditTries = 5
)

func newReports(e *engine.Engine, store *persist.Store) (*reports, error) {
	auditor, err := persist.NewAuditor(persist.AuditorConfig{Engine: e, Store: store})
	return &reports{auditor: auditor, audits: make(chan struct{}, maxAudits), exports: make(chan struct{}, maxExports)}, err
}

// audit compares Redis with Postgres.
func (a *API) audit(c *fiber.Ctx) error {
	ctx := a.deadlines.next()
	select {
	case a.reports.audits <- struct{}{}:
		defer func() { <-a.reports.audits }()
	case <-ctx.Done():
		return fmt.Errorf("%w: another audit is under way", engine.ErrOverloaded)
	}
	report, err := a.reports.auditor.Patiently(ctx, auditTries)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: audit: %w", engine.ErrOverloaded, err)
	}
	if err != nil {
		return err
	}
	return c.JSON(report)
}

// sales sends the sales of a drop as CSV, a page at a time, as the caller takes
// them. Where that breaks off so does the connection: nobody takes a part for the whole.
func (a *API) sales(c *fiber.Ctx) error {
	id, err := pathID(c, engine.MaxDropID, engine.ErrDropNotFound)
	if err != nil {
		return err
	}
	ctx := a.deadlines.next()
	drop, err := a.catalogue.drop(ctx, id)
	if err != nil {
		return err
	}
	head := func() {
		c.Set(fiber.HeaderContentType, "text/csv; charset=utf-8; header=present")
		c.Set(fiber.HeaderContentDisposition, fmt.Sprintf(`attachment; filename="drop-%d-sales.csv"`, id))
		c.Set(fiber.HeaderCacheControl, "no-store")
	}
	if c.Method() == fiber.MethodHead { // of a stream the server would send the end
		head()
		return nil
	}
	select {
	case a.reports.exports <- struct{}{}:
	default:
		return fmt.Errorf("%w: %d lists of sales are under way", engine.ErrOverloaded, maxExports)
	}
	r := &salesReader{
		store: a.cfg.Store, drop: drop, timeout: a.cfg.Timeout, conn: c.Context().Conn(),
		done: func() { <-a.reports.exports },
	}
	if err := r.begin(ctx); err != nil {
		_ = r.Close()
		return err
	}
	head()
	c.Context().SetBodyStream(r, -1)
	return nil
}

// salesReader reads the sales of a drop as CSV. The server closes it.
type salesReader struct {
	store   *persist.Store
	drop    persist.Drop
	timeout time.Duration // of one page, and of sending it
	conn    net.Conn
	done    func() // called once

	after int64 // the last sale in the buffer
	last  bool  // there are no more
	ready bytes.Buffer
}

var salesColumns = []string{"purchase_id", "purchased_at", "user_id", "username", "email", "size", "price"}

// begin reads the first page, so that a failure is answered as such.
func (r *salesReader) begin(ctx context.Context) error {
	w := csv.NewWriter(&r.ready)
	if err := w.Write(salesColumns); err != nil {
		return err
	}
	w.Flush()
	return r.page(ctx)
}

func (r *salesReader) page(ctx context.Context) error {
	list, err := r.store.Sales(ctx, r.drop.ID, r.after)
	if err != nil {
		return err
	}
	w := csv.NewWriter(&r.ready)
	price, err := money(r.drop.PriceMinor).MarshalJSON()
	if err != nil {
		return err
	}
	for _, s := range list {
		err := w.Write([]string{
			strconv.FormatInt(s.ID, 10), s.Purchased.UTC().Format(time.RFC3339Nano), strconv.FormatInt(s.User, 10),
			plain(s.Username), plain(s.Email), plain(s.Size), string(price),
		})
		if err != nil {
			return err
		}
		r.after = s.ID
	}
	w.Flush()
	r.last = len(list) < persist.SalesPage
	return w.Error()
}

// Read gives what is ready, and reads on where nothing is.
func (r *salesReader) Read(p []byte) (int, error) {
	for r.ready.Len() == 0 {
		if r.last {
			return 0, io.EOF
		}
		ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
		err := r.page(ctx)
		cancel()
		if err != nil {
			return 0, err
		}
		if err := r.conn.SetWriteDeadline(time.Now().Add(2 * r.timeout)); err != nil { // this page's own
			return 0, err
		}
	}
	return r.ready.Read(p)
}

// Close lets others have their turn.
func (r *salesReader) Close() error {
	if r.done != nil {
		r.done()
		r.done = nil
	}
	return nil
}

// plain keeps spreadsheets from taking what people call themselves for a formula.
// Some part cells at a semicolon too, whatever the quotes say.
func plain(s string) string {
	s = strings.ReplaceAll(s, ";", ",")
	if strings.IndexAny(s, "=+-@\t\r\n＝＋－＠") == 0 {
		return "'" + s
	}
	return s
}
