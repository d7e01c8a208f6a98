// Package tracing gives the traces of purchases their ids. The call that buys
// and the batch that brings the purchase to Postgres are far apart, often in two
// processes, and the ledger between them has no room for a trace's context. So
// the id of such a trace comes from the reservation's: both sides know it, and
// since traces are sampled by their ids, both sample the same ones.
package tracing

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"strconv"

	"go.opentelemetry.io/otel/trace"
)

// OfReservation is the id of the trace in which a reservation is bought or
// cancelled.
func OfReservation(id int64) trace.TraceID {
	sum := sha256.Sum256(strconv.AppendInt([]byte("holdfast reservation "), id, 10))
	return trace.TraceID(sum[:16])
}

type wish struct{}

// In has the root span that is begun with ctx be of the trace of a reservation.
func In(ctx context.Context, reservation int64) context.Context {
	return context.WithValue(ctx, wish{}, OfReservation(reservation))
}

// IDs makes the ids of spans and traces, as an IDGenerator of OpenTelemetry's SDK.
type IDs struct{}

// NewIDs gives a root span its ids.
func (g IDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if id, ok := ctx.Value(wish{}).(trace.TraceID); ok {
		return id, g.NewSpanID(ctx, id)
	}
	var id trace.TraceID
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64()) //nolint:gosec // an id of a trace is no secret
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // an id of a trace is no secret
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID gives a span its id.
func (IDs) NewSpanID(context.Context, trace.TraceID) trace.SpanID {
	var id trace.SpanID
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64()) //nolint:gosec // an id of a trace is no secret
	}
	return id
}
