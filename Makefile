# Lifeboat. `make run` and `make test` install everything they need; `make help` lists all targets.
PORT ?= 8080
EDGE_PORT ?= 8787
PYTHON_BIN := .venv/bin/python
NODE := scripts/node
CLIENTS := grpcio kserve schemathesis shap triton
# Keep wrangler from sending metrics and from fetching data that is not needed here.
export WRANGLER_SEND_METRICS := false
export CLOUDFLARE_CF_FETCH_ENABLED := false

.PHONY: help run quick test test-python test-worker export image edge e2e bench fuzz soak conformance sbom check format proto lock clean
.DELETE_ON_ERROR:
.NOTPARALLEL: # the targets share .venv and node_modules, and tests with listening servers should run alone

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/.server ## serve the models at http://127.0.0.1:8080 (PORT=... for another port)
	PORT=$(PORT) exec $(PYTHON_BIN) -m server

test: test-python test-worker ## run all tests except the image's

# pytest exits with 5 if no test is selected: TESTS may name only tests of one kind.
NOT_HERE := --ignore=tests/e2e --ignore=tests/box
TEST_JOBS ?= 2
test-python: .venv/.dev node_modules/.lifeboat $(CLIENTS:%=.build/clients/%/.installed) .build/clients/web/.installed .build/go/grpcurl .build/go/actionlint
	$(PYTHON_BIN) -m pytest $(NOT_HERE) -m "not alone" -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder $(TESTS) || [ $$? -eq 5 ]
	$(PYTHON_BIN) -m pytest $(NOT_HERE) -m alone $(TESTS) || [ $$? -eq 5 ]

quick: .venv/.dev ## run the tests closest to the uncommitted changes, in under a minute
	$(PYTHON_BIN) -m pytest -q -x -n $(TEST_JOBS) --dist loadfile -m "not alone" $$($(PYTHON_BIN) scripts/quick)

# Public clients. Each has its own environment, because they need different versions of the same libraries.
.build/clients/%/.installed: tests/clients/%/requirements.lock
	$(PYTHON_BIN) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

.build/clients/web/.installed: tests/clients/web/package-lock.json scripts/node
	mkdir -p $(@D)
	cp .npmrc tests/clients/web/package.json $< $(@D)
	$(NODE) npm --prefix $(@D) install --no-save --ignore-scripts --no-progress --loglevel=error
	@touch $@

# Go programs. Without Go, their tests are skipped with a message.
.build/go/grpcurl: GO_PROGRAM := github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4
.build/go/actionlint: GO_PROGRAM := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
.build/go/vale: GO_PROGRAM := github.com/vale-cli/vale/v3/cmd/vale@v3.22.0
.build/go/grpcurl .build/go/actionlint:
	@if command -v go >/dev/null; then \
		GOBIN="$(CURDIR)/$(@D)" go install $(GO_PROGRAM); \
	else \
		echo "there is no go here, to build $(@F) with"; \
	fi

# Vale's parsers for Python and TypeScript are written in C, so the build needs a C compiler.
.build/go/vale:
	@if command -v go >/dev/null && command -v gcc >/dev/null; then \
		GOBIN="$(CURDIR)/$(@D)" go install $(GO_PROGRAM) 2>$(@D).log || { cat $(@D).log; exit 1; }; \
	else \
		echo "there is no go or no gcc here, to build $(@F) with"; \
	fi

test-worker: node_modules/.lifeboat worker/env.d.ts
	$(NODE) npx vitest run

export: .venv/.export ## train, convert, verify and publish the Titanic model in models/ (EXPORT_FLAGS=... for options)
	$(PYTHON_BIN) -m export run $(EXPORT_FLAGS)

conformance: .venv/.dev ## run the public Connect conformance suite against the RPC protocols (needs Go)
	scripts/conformance

FUZZ_SECONDS ?= 60
fuzz: .venv/.dev .venv/.fuzz ## fuzz every decoder with malformed input (FUZZ_SECONDS=60, FUZZ_FLAGS=--only=http2,arrow)
	$(PYTHON_BIN) -m tests.fuzz --seconds=$(FUZZ_SECONDS) $(FUZZ_FLAGS)

SOAK_REQUESTS ?= 100000
soak: .venv/.dev ## measure memory over 100,000 rejected and 100,000 cancelled requests per interface (SOAK_REQUESTS=...)
	$(PYTHON_BIN) -m tests.soak --requests=$(SOAK_REQUESTS)

image: ## build the container image with the local container engine
	scripts/docker build --load --platform linux/amd64 --tag lifeboat .

edge: .venv/.dev node_modules/.lifeboat ## run Worker, Durable Object and container at http://127.0.0.1:8787 (EDGE_PORT=... for another port)
	EDGE_PORT=$(EDGE_PORT) scripts/edge

e2e: .venv/.dev node_modules/.lifeboat ## test attacks with 1 GiB and a quarter of a CPU, and the real image, alone and behind the Worker
	$(PYTHON_BIN) -m pytest tests/box
	scripts/e2e $(PYTHON_BIN) -m pytest tests/e2e

bench: .venv/.bench node_modules/.lifeboat ## measure this server, baselines and peers; write the README's table and docs/cost.md
	@command -v h2load >/dev/null || { echo "h2load is missing; on Debian: apt-get install nghttp2-client"; exit 1; }
	$(PYTHON_BIN) -m bench
	$(PYTHON_BIN) -m bench rpc
	$(PYTHON_BIN) -m bench batch
	$(PYTHON_BIN) -m bench edge
	$(PYTHON_BIN) -m bench overload
	$(PYTHON_BIN) -m bench attacks
	scripts/e2e sh -c 'scripts/docker build --load --quiet --platform linux/amd64 --tag lifeboat . && $(PYTHON_BIN) -m bench image'

sbom: .venv/.dev ## write the SBOMs (CycloneDX) of image and Worker to .build/sbom, from the lock files
	scripts/sbom .build/sbom

check: .venv/.dev node_modules/.lifeboat worker/env.d.ts .build/go/vale ## check formatting, lint, types, import layers and prose
	$(PYTHON_BIN) -m ruff check .
	$(PYTHON_BIN) -m ruff format --check .
	$(PYTHON_BIN) -m mypy
	$(PYTHON_BIN) .venv/bin/lint-imports --no-logo
	$(NODE) npm run --silent check
	scripts/prose

format: .venv/.dev node_modules/.lifeboat ## format the sources and apply the linters' fixes
	$(PYTHON_BIN) -m ruff check --fix .
	$(PYTHON_BIN) -m ruff format .
	$(NODE) npm run --silent format

proto: .venv/.dev ## regenerate the Python modules in server/rpc/proto
	$(PYTHON_BIN) -m grpc_tools.protoc -I server/rpc/proto --python_out=server/rpc/proto --pyi_out=server/rpc/proto \
		server/rpc/proto/*.proto

# Each lock file is installed once. A larger lock file includes the smaller ones.
.venv/.server: requirements.lock scripts/venv
	scripts/venv requirements.lock
	@touch $@

.venv/.export: requirements-export.lock scripts/venv
	scripts/venv requirements-export.lock
	@touch $@ .venv/.server

.venv/.dev: requirements-dev.lock scripts/venv
	scripts/venv requirements-dev.lock
	@touch $@ .venv/.export .venv/.server

.venv/.bench: requirements-bench.lock scripts/venv
	scripts/venv requirements-bench.lock
	@touch $@ .venv/.dev .venv/.export .venv/.server

.venv/.fuzz: requirements-fuzz.lock scripts/venv .venv/.dev
	scripts/venv requirements-fuzz.lock
	@touch $@

# Not `npm ci`: it rejects a lock file that lacks another platform's optional binary, which the registry may not have had
# when the lock was made. `npm install` installs the same locked versions by hash; --no-save leaves the lock file unchanged.
node_modules/.lifeboat: package-lock.json scripts/node
	$(NODE) npm install --no-save --ignore-scripts --no-progress --loglevel=error
	@touch $@

worker/env.d.ts: wrangler.toml node_modules/.lifeboat
	$(NODE) npm run --silent types >/dev/null

UV_COMPILE := $(PYTHON_BIN) -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-annotate --custom-compile-command 'make lock' $(UV_FLAGS)
lock: .venv/.dev ## pin all dependencies with hashes (UV_FLAGS=--upgrade for newer versions)
	$(UV_COMPILE) pyproject.toml --output-file requirements.lock
	$(UV_COMPILE) pyproject.toml --extra export --group build --constraint requirements.lock --output-file requirements-export.lock
	$(UV_COMPILE) pyproject.toml --extra export --extra trace --group build --group dev --constraint requirements-export.lock --output-file requirements-dev.lock
	$(UV_COMPILE) pyproject.toml --extra trace --constraint requirements-dev.lock --output-file requirements-trace.lock
	$(UV_COMPILE) pyproject.toml --extra export --extra trace --group build --group dev --group bench --constraint requirements-dev.lock --output-file requirements-bench.lock
	$(foreach client,$(CLIENTS),$(UV_COMPILE) tests/clients/$(client)/requirements.in --output-file tests/clients/$(client)/requirements.lock;)
	$(UV_COMPILE) --group fuzz --output-file requirements-fuzz.lock
	$(UV_COMPILE) --group node --output-file requirements-node.lock
	rm -rf node_modules # otherwise npm locks only the optional packages that are installed here
	$(NODE) npm install --package-lock-only --ignore-scripts
	$(NODE) npm --prefix tests/clients/web install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved

clean: ## remove everything that other targets created
	rm -rf .venv .node node_modules .wrangler .build build lifeboat.egg-info worker/env.d.ts
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
