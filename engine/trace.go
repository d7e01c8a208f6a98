package engine

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// maxLinks is the most requests that the span of a batch names.
const maxLinks = 32

// span begins the span of one call for a batch, in the trace of the first
// request that is sampled; it links those of the others. Without one there is
// none, and end does nothing.
func (c *combiner[Q, R]) span(ctx context.Context, drop int64, batch []*member[Q, R]) (_ context.Context, end func()) {
	var parent trace.SpanContext
	var links []trace.Link
	for _, m := range batch {
		of := trace.SpanContextFromContext(m.from)
		switch {
		case !of.IsSampled() || len(links) == maxLinks:
		case !parent.IsValid():
			parent = of
		default:
			links = append(links, trace.Link{SpanContext: of})
		}
	}
	if !parent.IsValid() {
		return ctx, func() {}
	}
	ctx, span := c.limits.tracer.Start(trace.ContextWithSpanContext(ctx, parent), c.limits.name+" batch",
		trace.WithLinks(links...),
		trace.WithAttributes(attribute.Int64("holdfast.drop", drop), attribute.Int("holdfast.batch", len(batch))))
	return ctx, func() { span.End() }
}
