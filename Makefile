# Holdfast. `make help` lists what there is to make.

VERSION   := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PORT      ?= 3000
FUZZTIME  ?= 20s
MINUTES   ?= 30
# Of make fault: one seed or a range (7, 3-9), and these alone are run. Of make sim: how many.
SEEDS     ?=
FROM      ?= 1
# Of make bench.
PHASES    ?=
ROUNDS    ?=
SECONDS   ?=
# Of make fault: 1 builds holdfast with the race detector, 0 without, which is quicker.
RACE      ?= 1
# Anything else to hand on: make test TESTFLAGS='-run TestReserve -v', make run ARGS='--data /tmp/x'
SCRIPT    ?= checkout
PICTURES  ?= bin/pictures
ARGS      ?=
TESTFLAGS ?=

LINT = .ci/tool golangci-lint github.com/golangci/golangci-lint/v2 v2.15.0 \
       github.com/golangci/golangci-lint/v2/cmd/golangci-lint
VULN = .ci/tool govulncheck golang.org/x/vuln v1.9.0 golang.org/x/vuln/cmd/govulncheck
K6   = .ci/tool k6 go.k6.io/k6 v1.8.1 go.k6.io/k6

.DEFAULT_GOAL := help
.PHONY: help run build test test-unit fault mutate sim fuzz lint bench bench-live k6 pictures secrets clean go servers compiler browser node prometheus

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' Makefile

run: servers build ## Install what is missing and serve on PORT (3000), with Redis and Postgres of its own
	@exec bin/holdfast dev --port $(PORT) $(ARGS)

build: go ## Build bin/holdfast
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/holdfast ./cmd/holdfast

test: go servers compiler browser node prometheus ## Install what is missing and run every test, on real servers, with the race detector
	CGO_ENABLED=1 go test -race -timeout 25m -skip '^Test(Browser|Bot$$|Attacks$$)' $(TESTFLAGS) $$(go list ./... | grep -v '/test/fault$$')
	@# By themselves: what a fault does to a sale shows less when others take the machine.
	CGO_ENABLED=1 go test -race -timeout 25m $(TESTFLAGS) ./test/fault
	@# Likewise, since what one page does has to show on another within a second, and others are to get their share.
	CGO_ENABLED=1 go test -race -timeout 25m -run '^Test(Browser|Bot$$|Attacks$$)' $(TESTFLAGS) ./test/integration

test-unit: go servers ## Run the packages' own tests only: no suites of test/, no race detector
	go test -timeout 5m $(TESTFLAGS) $$(go list ./... | grep -v '/test/')

fault: go servers compiler ## Try to break the promises with faults for MINUTES (30), or those of SEEDS (7, 3-9)
	CGO_ENABLED=1 HOLDFAST_FAULT_RACE=$(RACE) HOLDFAST_FAULT_SEEDS=$(SEEDS) HOLDFAST_FAULT_MINUTES=$(if $(SEEDS),,$(MINUTES)) \
	  go test -count 1 -v -timeout 0 -run '^TestCampaign$$' $(TESTFLAGS) ./test/fault

fuzz: go ## Run each fuzz test for FUZZTIME (20s)
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
	  for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
	    go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" || exit 1; \
	  done; \
	done

lint: go ## Check the formatting, go vet, golangci-lint with gosec, and known vulnerabilities
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; }
	go vet ./...
	@linter=$$($(LINT)) && "$$linter" run --timeout 10m
	@vulncheck=$$($(VULN)) && .ci/vulncheck "$$vulncheck"

bench: go servers ## Measure Holdfast beside what people would pick instead: PHASES (all), ROUNDS (3), SECONDS (3) a turn
	HOLDFAST_BENCH_PHASES=$(PHASES) HOLDFAST_BENCH_ROUNDS=$(ROUNDS) HOLDFAST_BENCH_SECONDS=$(SECONDS) HOLDFAST_BENCH_OUT=$(abspath bin/bench) \
	  go test -count 1 -run '^$$' -bench '^BenchmarkSale$$' -benchtime 1x -timeout 1h $(TESTFLAGS) ./test/bench

bench-live: go servers ## Measure the live feed: 2,000 watchers of a drop that sells at full speed
	go test -run '^$$' -bench Live -benchtime 1x -timeout 15m $(TESTFLAGS) ./test/bench

mutate: go servers ## Take the guards away, one at a time: the tests have to notice each
	go run ./test/mutate

sim: go ## Play SEEDS (1000000) worlds of the simulator from seed FROM (1)
	HOLDFAST_SIM_SEEDS=$(or $(SEEDS),1000000) HOLDFAST_SIM_FROM=$(FROM) go test -count 1 -timeout 0 -v -run '^TestCampaign$$' ./test/sim

k6: servers build ## Run SCRIPT (checkout, storm, browse, soak, live) with k6 against BASE_URL, or a server started for it
	@k6=$$($(K6)) && .ci/k6 "$$k6" test/k6/$(SCRIPT).js $(ARGS)

pictures: go servers compiler browser ## Take the pages' pictures into PICTURES (bin/pictures)
	mkdir -p $(PICTURES)
	HOLDFAST_PICTURES=$(abspath $(PICTURES)) go test -count 1 -run '^TestBrowser(Looks|Console)' ./test/integration

secrets: ## Make the passwords of docker compose, in .secrets
	@.ci/secrets

clean: ## Remove what was built; the data of `make run` in .holdfast and .secrets stay
	rm -rf bin

go:
	@command -v go >/dev/null || { echo "Go 1.26 or newer is missing: see https://go.dev/doc/install"; exit 1; }

servers:
	@.ci/install servers

compiler:
	@.ci/install compiler

browser:
	@.ci/install browser

node:
	@.ci/install node

prometheus:
	@.ci/install prometheus
