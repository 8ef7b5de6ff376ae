# `make` lists the targets. All of them need Go; a target that needs more says so.
# Variables: RACE=1, TESTFLAGS=…, FUZZTIME=10s, KILLS=100, SEED=…, CHAOSFLAGS=…,
# PREVIOUS=…, BENCHFLAGS=…, VERSION=….

SHELL := /bin/sh
.DEFAULT_GOAL := help

# The modules of the workspace, as go.work lists them.
MODULES := $(shell awk '$$1 ~ /^\.\// { print substr($$1, 3) }' go.work)

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -X github.com/orderhub/orderhub/libs/platform/buildinfo.version=$(VERSION)

# In CI tests run with the race detector; elsewhere RACE=1 turns it on.
RACE ?= $(if $(CI),1,)
TESTFLAGS ?=
FUZZTIME ?= 10s
BENCHFLAGS ?=

# `make vet` makes all of vet's checks; go test would make some of them once more.
GOTEST = go test -vet=off $(if $(RACE),-race) -timeout 20m $(TESTFLAGS)

# Tools that are no module's dependency; Renovate reads these lines.
# renovate: github.com/golangci/golangci-lint/v2
GOLANGCI_VERSION := 2.15.0
# renovate: golang.org/x/vuln
GOVULNCHECK_VERSION := 1.9.0
# renovate: github.com/CycloneDX/cyclonedx-gomod
CYCLONEDX_VERSION := 1.10.0
# renovate: github.com/google/go-containerregistry
CRANE_VERSION := 0.22.1

# $(call each_module,COMMAND) runs COMMAND in each module and names the module that fails.
define each_module
	@for module in $(MODULES); do \
		(cd $$module && $(1)) || { echo "failed in $$module: $(1)" >&2; exit 1; }; \
	done
endef

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Use

.PHONY: build
build: ## Build the services and orderctl into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ \
		./services/ingest-worker/cmd/ingest-worker \
		./services/nats-bridge/cmd/nats-bridge \
		./services/read-api/cmd/read-api \
		./services/orderctl/cmd/orderctl

# The stack replaces the recipe's shell, so that signals reach it directly. It
# stops when make ends.
.PHONY: run
run: build ## Run Orderhub on this machine: broker, database, worker, API (NATS=1: NATS too); Ctrl-C stops it
	@CGO_ENABLED=0 go build -trimpath -o bin/ ./scripts/cmd/stack
	@exec bin/stack --stop-with $$PPID

.PHONY: clean
clean: ## Remove what make built; the data in .orderhub stays
	rm -rf bin dist .tools

##@ Check

# The tests in scripts build and read files outside their module. Go's cache of
# test results does not notice changes of those, so these tests run each time.
.PHONY: test
test: ## Run all tests (RACE=1 with the race detector, which needs a C compiler)
	@failed=0; \
	$(GOTEST) $(patsubst %,./%/...,$(filter-out scripts,$(MODULES))) || failed=1; \
	$(GOTEST) -count=1 ./scripts/... || failed=1; \
	exit $$failed

.PHONY: lint
lint: ## Run golangci-lint, import rules included, in each module
	@lint=$$(scripts/golangci-lint.sh $(GOLANGCI_VERSION)) && \
	for module in $(MODULES); do \
		(cd $$module && $$lint run ./...) || failed="$$failed $$module"; \
	done; \
	[ -z "$$failed" ] || { echo "lint failed in$$failed" >&2; exit 1; }

.PHONY: check
check: ## Run everything that CI checks
	@$(MAKE) --no-print-directory static
	@$(MAKE) --no-print-directory test RACE=1

.PHONY: static
static: fmt-check vet alone lint licenses-check

.PHONY: fmt-check
fmt-check:
	@unformatted=$$(gofmt -l $(MODULES)); \
	[ -z "$$unformatted" ] || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; } >&2

.PHONY: vet
vet:
	go build work
	go vet work

# A workspace can hide a missing or too old requirement.
.PHONY: alone
alone:
	$(call each_module,GOWORK=off go mod tidy -diff)
	$(call each_module,GOWORK=off go build ./... && GOWORK=off go vet ./...)

# GOVULNDB names another database than https://vuln.go.dev. Exit code 4 of the script:
# the database cannot be reached, and nothing was checked.
.PHONY: vuln
vuln: ## Look for known vulnerabilities in what the services call (needs vuln.go.dev)
	@scripts/vuln.sh v$(GOVULNCHECK_VERSION)

.PHONY: licenses
licenses: ## Write docs/licenses.md, the modules in the released programs
	@scripts/licenses.sh >docs/licenses.md.new && mv docs/licenses.md.new docs/licenses.md

.PHONY: licenses-check
licenses-check:
	@scripts/licenses.sh | diff -u docs/licenses.md - >&2 || { echo "docs/licenses.md is out of date, or a license is not allowed: see above, and run make licenses" >&2; exit 1; }

.PHONY: sbom
sbom: build ## Write a CycloneDX SBOM of each program into bin/
	@for program in ingest-worker nats-bridge read-api orderctl; do \
		go run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v$(CYCLONEDX_VERSION) bin -json -version '$(VERSION)' \
			-output bin/$$program.cdx.json bin/$$program || exit 1; \
	done

.PHONY: release
release: ## Build the release VERSION (v1.2.3) for Linux and macOS into dist/: archives, chart, SBOMs, checksums
	@scripts/release.sh '$(VERSION)' $(CYCLONEDX_VERSION)

RELEASE ?= full
.PHONY: test-release
test-release: ## Build a release twice and compare them byte for byte (RELEASE=short: one program)
	@ORDERHUB_TEST_RELEASE=$(RELEASE) go test -count=1 -timeout 1h -run TestReleaseIsReproducible ./scripts/deploytest

.PHONY: pin-images
pin-images: ## Pin the base images to the digests that their tags have now (needs the registries)
	@scripts/pin-images.sh v$(CRANE_VERSION)

# ORDERHUB_TEST_SEED replays a run; each run prints its seed.
POINTS ?= 100
.PHONY: test-reader
test-reader: ## Test the reader at length: random histories with POINTS comparisons (100), the whole model, lists among a million orders
	cd services/read-api/integration && ORDERHUB_TEST_POINTS=$(POINTS) go test -count=1 -timeout 3h -v -run TestCachesEqualTheTables ./reader
	cd services/read-api && ORDERHUB_TEST_MODEL=1 go test -count=1 -timeout 3h -v -run TestNoInterleavingLosesAChange ./internal/changes
	cd services/read-api/integration && ORDERHUB_TEST_LISTED_ORDERS=1000000 go test -count=1 -timeout 1h -v -run TestAPageLooksAtFewRows ./reader

# Without the race detector: it would watch only the tests, not the services.
.PHONY: test-kafka
test-kafka: ## Run the tests on Apache Kafka, one broker and three (needs Java, Maven; 5 minutes)
	@ORDERHUB_TEST_KAFKA=1 go test -p 1 -count=1 -timeout 30m $(TESTFLAGS) ./scripts/devstack/apachekafka ./scripts/kafkatest

POSTGRESQL ?= 15 16 17 18
KAFKA_VERSIONS ?= 3.9.2 4.0.2 4.1.2 4.2.1 4.3.1
.PHONY: test-matrix
test-matrix: ## Test on each version of PostgreSQL and of Kafka (POSTGRESQL='15 18' KAFKA_VERSIONS=3.9.2; needs Java, Maven; an hour)
	@scripts/matrix.sh '$(POSTGRESQL)' '$(KAFKA_VERSIONS)'

MESSAGES ?= 100000
.PHONY: test-nats
test-nats: ## Account for MESSAGES messages (100000) of NATS while the bridge is killed again and again (2 minutes)
	@ORDERHUB_TEST_NATS_MESSAGES=$(MESSAGES) go test -count=1 -timeout 30m -v -run TestEachMessageOfNATSIsAccountedFor $(TESTFLAGS) ./scripts/e2e

# The rules' time runs 30 times as fast. FAULTS=all also writes the table of docs/alerts.md.
FAULTS ?= all
.PHONY: test-alerts
test-alerts: ## Cause FAULTS (all, or parts of names: database,worker) beside a Prometheus: their alerts fire, and no other page (needs prometheus; 8 minutes)
	@ORDERHUB_TEST_ALERTS=$(FAULTS) go test -count=1 -timeout 30m -v -run TestFaultsRaiseTheirAlerts $(TESTFLAGS) ./scripts/e2e

# SEED repeats the load and the strikes of a run; CHAOSFLAGS=--help lists all flags.
KILLS ?= 100
CHAOSFLAGS ?=
.PHONY: chaos
chaos: build ## Kill, stop and cut off services and stores KILLS times (100) under load, then account for every record (CHAOSFLAGS=--nats: NATS and the bridge too; needs Java, Maven)
	@go run ./scripts/chaos --kills $(KILLS) $(if $(SEED),--seed $(SEED)) $(CHAOSFLAGS)

# The last release, unless PREVIOUS names a commit; on the embedded broker, unless KAFKA=apache.
PREVIOUS ?=
.PHONY: test-upgrade
test-upgrade: ## Upgrade programs of the last release (PREVIOUS=commit) under load, back, and again; then account for every record
	@KAFKA='$(KAFKA)' TESTFLAGS='$(TESTFLAGS)' scripts/upgrade.sh '$(PREVIOUS)'

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME (10s)
	@grep -rl --include='*_test.go' '^func Fuzz' $(MODULES) | sort -u | while read -r file; do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
			echo "$$(dirname $$file) $$name"; \
			(cd $$(dirname $$file) && go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x .) </dev/null || exit 1; \
		done; \
	done

##@ Measure

# Full runs write their tables into the documents. With flags of its own a run may be
# smaller, so it writes none unless --document FILE is among them.
RECORD = $(if $(BENCHFLAGS),,--document docs/benchmarks.md)

.PHONY: bench
bench: bench-ingest bench-read bench-lists bench-restore bench-dlq bench-nats bench-freshness bench-peers ## Run all benchmarks and write the tables of docs/benchmarks.md

.PHONY: bench-ingest
bench-ingest: build ## Compare the worker with a bare COPY on the same database
	@go run ./scripts/bench ingest $(BENCHFLAGS) $(RECORD)

.PHONY: bench-read
bench-read: build ## Compare the API with a bare gin server (needs wrk)
	@go run ./scripts/bench read $(BENCHFLAGS) $(RECORD)

.PHONY: bench-lists
bench-lists: build ## Compare lists from memory with those from PostgreSQL (needs wrk; 20 minutes)
	@go run ./scripts/bench lists $(BENCHFLAGS) $(RECORD)

.PHONY: bench-restore
bench-restore: build ## Compare the API's start with COPY OUT, and measure its memory (BENCHFLAGS='--churn 10m')
	@go run ./scripts/bench restore $(BENCHFLAGS) $(RECORD)

.PHONY: bench-dlq
bench-dlq: build ## Compare orderctl dlq with a bare consumer of the dead-letter topic
	@go run ./scripts/bench dlq $(BENCHFLAGS) $(RECORD)

.PHONY: bench-nats
bench-nats: build ## Compare nats-bridge with a bare JetStream consumer, and time orders from NATS to the API
	@go run ./scripts/bench nats $(BENCHFLAGS) $(RECORD)

.PHONY: bench-import
bench-import: build ## Compare an import of 1,000,000 orders of another service with their ingest (needs psql; 5 minutes)
	@CGO_ENABLED=0 go build -trimpath -o bin/ ./scripts/cmd/stack
	@scripts/bench-import.sh

.PHONY: bench-freshness
bench-freshness: build ## Time orders from the producer to the API, idle, loaded and overloaded (6 minutes)
	@go run ./scripts/bench freshness $(BENCHFLAGS) $(RECORD)

.PHONY: bench-peers
bench-peers: build ## Compare Orderhub with Benthos, Kafka Connect and a hand-written service (needs wrk, Java, Maven, the network; half an hour)
	@go run ./scripts/bench peers $(BENCHFLAGS) $(RECORD)

# ORDERS and HOURS set the size and the length of these runs.
ORDERS ?= 10000000
.PHONY: scale
scale: build ## Measure while the tables grow to ORDERS orders (10000000) (needs wrk; a quarter of an hour, 30 GB)
	@go run ./scripts/bench scale --orders $(ORDERS) $(BENCHFLAGS) $(if $(BENCHFLAGS)$(filter-out 10000000,$(ORDERS)),,--document docs/scaling.md)

HOURS ?= 1
.PHONY: soak
soak: build ## Run under load with churn for HOURS (1), and check that memory, files and lag stay flat
	@go run ./scripts/bench soak --hours $(HOURS) $(BENCHFLAGS) $(if $(BENCHFLAGS)$(filter-out 1,$(HOURS)),,--document docs/scaling.md)
