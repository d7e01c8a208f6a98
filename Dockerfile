# syntax=docker/dockerfile:1

FROM golang:1.26-alpine AS build
# A patch release newer than the image's is fetched, not refused.
ENV GOTOOLCHAIN=auto CGO_ENABLED=0
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
    go mod download
COPY . .
ARG VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod \
    --mount=type=cache,target=/root/.cache/go-build \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /out/holdfast ./cmd/holdfast

# No shell and no package manager: the binary, certificates, time zones.
FROM gcr.io/distroless/static-debian12:nonroot
LABEL org.opencontainers.image.title="Holdfast" \
      org.opencontainers.image.description="A reservation engine for limited drops" \
      org.opencontainers.image.licenses="ISC"
COPY --from=build /out/holdfast /usr/local/bin/holdfast
# Its user nonroot, as a number: Kubernetes' runAsNonRoot cannot look names up.
USER 65532:65532
ENV HOLDFAST_HOST=0.0.0.0 HOLDFAST_PORT=3000
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/holdfast", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/holdfast"]
CMD ["serve"]
