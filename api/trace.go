package api

import (
	"context"
	"time"

	"github.com/gofiber/fiber/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast/holdfast/engine/tracing"
)

// traced begins a span for every request that is sampled. It names the request
// by its route and tells nothing of its headers, query or body. The caller's own
// trace is linked, never joined: whether there is a trace, and what its id is,
// is not for callers to say.
func (a *API) traced(c *fiber.Ctx) error {
	root := context.Background()
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(time.Now())}
	if theirs := callersTrace(c); theirs.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: theirs}))
	}
	if id := endedReservation(c); id != 0 {
		root = tracing.In(root, id)
		options = append(options, trace.WithAttributes(attribute.Int64("holdfast.reservation", id)))
	}
	ctx, span := a.cfg.Tracer.Start(root, "request", options...)
	defer span.End()
	if !span.IsRecording() {
		return c.Next()
	}
	c.SetUserContext(ctx)
	err := c.Next() // errors are answered already
	method, route, status := c.Route().Method, a.metrics.route(c), c.Response().StatusCode()
	span.SetName(method + " " + route)
	span.SetAttributes(
		attribute.String("http.request.method", method), attribute.String("http.route", route),
		attribute.Int("http.response.status_code", status), attribute.String("holdfast.request_id", a.requestIDs.of(c)))
	if status >= fiber.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
	return err
}

// endedReservation is the reservation that a request buys or cancels, 0 for any
// other request.
func endedReservation(c *fiber.Ctx) int64 {
	switch string(c.Request().URI().Path()) {
	case "/api/drops/purchase", "/api/drops/cancel":
		if id, err := decodeReservationID(c.Request().Body()); err == nil {
			return id
		}
	}
	return 0
}

// callersTrace is what a traceparent header names.
func callersTrace(c *fiber.Ctx) trace.SpanContext {
	header := c.Get("traceparent")
	if header == "" {
		return trace.SpanContext{}
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": header})
	return trace.SpanContextFromContext(ctx)
}

// context bounds what a request may wait for and, if it is traced, has what is
// done for it shown in its trace.
func (a *API) context(c *fiber.Ctx) context.Context {
	ctx := a.deadlines.next()
	if a.cfg.Tracer == nil {
		return ctx
	}
	if span := trace.SpanFromContext(c.UserContext()); span.IsRecording() {
		return trace.ContextWithSpan(ctx, span)
	}
	return ctx
}
