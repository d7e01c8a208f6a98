package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/holdfast/holdfast/engine/tracing"
)

// traces sends what requests do, step by step, to whoever gathers that. Nil,
// the default, traces nothing and costs nothing.
type traces struct {
	provider *sdktrace.TracerProvider
	log      *slog.Logger
}

// newTraces gives nil where no endpoint is set. Traces that cannot be sent soon
// are dropped: nothing waits for them.
func newTraces(ctx context.Context, f seeFlags, log *slog.Logger) (*traces, error) {
	if f.OTLPEndpoint == "" {
		return nil, nil //nolint:nilnil // traces says what nil does
	}
	to, err := tracesURL(f.OTLPEndpoint)
	if err != nil {
		return nil, err
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(to))
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces were not sent", "err", err) }))
	return &traces{log: log, provider: sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithIDGenerator(tracing.IDs{}),
		sdktrace.WithSampler(sdktrace.ParentBased(ownRoots{sdktrace.TraceIDRatioBased(f.TraceRatio)})),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "holdfast"), attribute.String("service.version", version))),
	)}, nil
}

// ownRoots samples the traces that a request or a batch begins. What the
// instance asks a store for by itself begins none: it does so all the time.
type ownRoots struct{ sdktrace.Sampler }

// ShouldSample decides on a span that has no parent.
func (s ownRoots) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if p.Kind == trace.SpanKindClient {
		return sdktrace.SamplingResult{Decision: sdktrace.Drop}
	}
	return s.Sampler.ShouldSample(p)
}

// tracesURL is where traces go below an OTLP endpoint.
func tracesURL(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return "", errors.New("is no URL") // it may bear a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", errors.New("must be http://host:port or https://host:port")
	}
	const path = "/v1/traces"
	if !strings.HasSuffix(u.Path, path) {
		u.Path = strings.TrimSuffix(u.Path, "/") + path
	}
	return u.String(), nil
}

// tracer begins spans; nil without traces.
func (t *traces) tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer("github.com/holdfast/holdfast")
}

// instrument shows a client's calls in the traces, without what they carry.
func (t *traces) instrument(c redis.UniversalClient) error {
	if t == nil {
		return nil
	}
	return redisotel.InstrumentTracing(c, redisotel.WithTracerProvider(t.provider),
		redisotel.WithDBStatement(false), redisotel.WithCallerEnabled(false))
}

// statements shows those of Postgres in the traces, without their parameters.
func (t *traces) statements() pgx.QueryTracer {
	if t == nil {
		return nil
	}
	return otelpgx.NewTracer(otelpgx.WithTracerProvider(t.provider), otelpgx.WithDisableAcquireTracer(),
		otelpgx.WithDisableConnectionDetailsInAttributes())
}

// tracesTimeout is what the last traces get to be sent in at the end.
const tracesTimeout = 500 * time.Millisecond

func (t *traces) stop() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), tracesTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Warn("the last traces were not sent", "err", err)
	}
}
