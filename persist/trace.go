package persist

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/engine/tracing"
)

// maxSpans is the most purchases of a batch in whose traces it is shown.
const maxSpans = 32

// batchSpans show one batch in the traces of the purchases in it: the first has
// the statements below its span, those of the others link it.
type batchSpans []trace.Span

// beginSpans begins those of the purchases that are sampled.
func (w *Writer) beginSpans(ends []engine.End) (spans batchSpans) {
	if w.cfg.Tracer == nil {
		return nil
	}
	for _, e := range ends {
		if e.Status != engine.StatusCompleted || len(spans) == maxSpans {
			continue
		}
		options := []trace.SpanStartOption{
			trace.WithSpanKind(trace.SpanKindConsumer),
			trace.WithAttributes(attribute.Int64("holdfast.reservation", e.ID), attribute.Int("holdfast.batch", len(ends))),
		}
		if len(spans) > 0 {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: spans[0].SpanContext()}))
		}
		_, span := w.cfg.Tracer.Start(tracing.In(context.Background(), e.ID), "ledger batch", options...)
		if span.IsRecording() {
			spans = append(spans, span)
		}
	}
	return spans
}

// in has statements made with ctx shown below the batch.
func (s batchSpans) in(ctx context.Context) context.Context {
	if len(s) == 0 {
		return ctx
	}
	return trace.ContextWithSpan(ctx, s[0])
}

func (s batchSpans) end() {
	for _, span := range s {
		span.End()
	}
}
