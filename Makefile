# Lifeboat. `make run` and `make test` set up all that they need; `make help` lists the rest.
PORT ?= 8080
EDGE_PORT ?= 8787
PYTHON_BIN := .venv/bin/python
NODE := scripts/node
CLIENTS := grpcio kserve schemathesis shap triton
# wrangler asks the network for nothing it doesn't need here.
export WRANGLER_SEND_METRICS := false
export CLOUDFLARE_CF_FETCH_ENABLED := false

.PHONY: help run quick test test-python test-worker export image edge e2e bench fuzz soak conformance sbom check format proto lock clean
.DELETE_ON_ERROR:
.NOTPARALLEL: # the targets share .venv and node_modules, and tests that listen are best alone

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/.server ## serve the models at http://127.0.0.1:8080 (PORT=... for another port)
	PORT=$(PORT) exec $(PYTHON_BIN) -m server

test: test-python test-worker ## every test but those of the image

# 5 is pytest's status where nothing is selected: TESTS may name tests of one kind alone.
NOT_HERE := --ignore=tests/e2e --ignore=tests/box
TEST_JOBS ?= 2
test-python: .venv/.dev node_modules/.lifeboat $(CLIENTS:%=.build/clients/%/.installed) .build/clients/web/.installed .build/go/grpcurl .build/go/actionlint
	$(PYTHON_BIN) -m pytest $(NOT_HERE) -m "not alone" -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder $(TESTS) || [ $$? -eq 5 ]
	$(PYTHON_BIN) -m pytest $(NOT_HERE) -m alone $(TESTS) || [ $$? -eq 5 ]

quick: .venv/.dev ## the tests nearest to a change, in under a minute
	$(PYTHON_BIN) -m pytest -q -x -n $(TEST_JOBS) --dist loadfile -m "not alone" $$($(PYTHON_BIN) scripts/quick)

# Public clients, each in an environment of its own: they want other versions of the same libraries.
.build/clients/%/.installed: tests/clients/%/requirements.lock
	$(PYTHON_BIN) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

.build/clients/web/.installed: tests/clients/web/package-lock.json scripts/node
	mkdir -p $(@D)
	cp .npmrc tests/clients/web/package.json $< $(@D)
	$(NODE) npm --prefix $(@D) install --no-save --ignore-scripts --no-progress --loglevel=error
	@touch $@

# Go programs: where there is no Go, their tests are skipped and say so.
.build/go/grpcurl: GO_PROGRAM := github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4
.build/go/actionlint: GO_PROGRAM := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
.build/go/vale: GO_PROGRAM := github.com/vale-cli/vale/v3/cmd/vale@v3.22.0
.build/go/grpcurl .build/go/actionlint:
	@if command -v go >/dev/null; then \
		GOBIN="$(CURDIR)/$(@D)" go install $(GO_PROGRAM); \
	else \
		echo "there is no go here, to build $(@F) with"; \
	fi

# Vale reads Python and TypeScript by parsers in C.
.build/go/vale:
	@if command -v go >/dev/null && command -v gcc >/dev/null; then \
		GOBIN="$(CURDIR)/$(@D)" go install $(GO_PROGRAM) 2>$(@D).log || { cat $(@D).log; exit 1; }; \
	else \
		echo "there is no go or no gcc here, to build $(@F) with"; \
	fi

test-worker: node_modules/.lifeboat worker/env.d.ts
	$(NODE) npx vitest run

export: .venv/.export ## train, convert, verify and publish the Titanic model into models/ (EXPORT_FLAGS=... for its options)
	$(PYTHON_BIN) -m export run $(EXPORT_FLAGS)

conformance: .venv/.dev ## the public Connect suite against the RPC wires (needs Go)
	scripts/conformance

FUZZ_SECONDS ?= 60
fuzz: .venv/.dev .venv/.fuzz ## hostile inputs for every decoder, in process (FUZZ_SECONDS=60, FUZZ_FLAGS=--only=http2,arrow)
	$(PYTHON_BIN) -m tests.fuzz --seconds=$(FUZZ_SECONDS) $(FUZZ_FLAGS)

SOAK_REQUESTS ?= 100000
soak: .venv/.dev ## memory over 100,000 rejected and 100,000 cancelled requests of every interface (SOAK_REQUESTS=...)
	$(PYTHON_BIN) -m tests.soak --requests=$(SOAK_REQUESTS)

image: ## build the container image with the machine's own engine
	scripts/docker build --load --platform linux/amd64 --tag lifeboat .

edge: .venv/.dev node_modules/.lifeboat ## Worker, Durable Object and container at http://127.0.0.1:8787
	EDGE_PORT=$(EDGE_PORT) scripts/edge

e2e: .venv/.dev node_modules/.lifeboat ## attacks in a small box; the real image under a real engine, alone and behind the Worker
	$(PYTHON_BIN) -m pytest tests/box
	scripts/e2e $(PYTHON_BIN) -m pytest tests/e2e

bench: .venv/.bench node_modules/.lifeboat ## floors, this server and the peers side by side; README's table and docs/cost.md
	@command -v h2load >/dev/null || { echo "h2load is missing; on Debian: apt-get install nghttp2-client"; exit 1; }
	$(PYTHON_BIN) -m bench
	$(PYTHON_BIN) -m bench rpc
	$(PYTHON_BIN) -m bench batch
	$(PYTHON_BIN) -m bench edge
	$(PYTHON_BIN) -m bench overload
	$(PYTHON_BIN) -m bench attacks
	scripts/e2e sh -c 'scripts/docker build --load --quiet --platform linux/amd64 --tag lifeboat . && $(PYTHON_BIN) -m bench image'

sbom: .venv/.dev ## write what image and Worker are made of into .build/sbom (CycloneDX), by the lock files
	scripts/sbom .build/sbom

check: .venv/.dev node_modules/.lifeboat worker/env.d.ts .build/go/vale ## linters, types, import rules and words
	$(PYTHON_BIN) -m ruff check .
	$(PYTHON_BIN) -m ruff format --check .
	$(PYTHON_BIN) -m mypy
	$(PYTHON_BIN) .venv/bin/lint-imports --no-logo
	$(NODE) npm run --silent check
	scripts/prose

format: .venv/.dev node_modules/.lifeboat ## rewrite the sources as the linters want them
	$(PYTHON_BIN) -m ruff check --fix .
	$(PYTHON_BIN) -m ruff format .
	$(NODE) npm run --silent format

proto: .venv/.dev ## generate the modules of server/rpc/proto again
	$(PYTHON_BIN) -m grpc_tools.protoc -I server/rpc/proto --python_out=server/rpc/proto --pyi_out=server/rpc/proto \
		server/rpc/proto/*.proto

# Each lock file is installed once; the larger ones hold the smaller.
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

# Not `npm ci`: it refuses a lock file that lacks another platform's optional binary, which the registry that the lock was
# made from may not have held. What the lock names is installed as it says, by hash; --no-save leaves the file alone.
node_modules/.lifeboat: package-lock.json scripts/node
	$(NODE) npm install --no-save --ignore-scripts --no-progress --loglevel=error
	@touch $@

worker/env.d.ts: wrangler.toml node_modules/.lifeboat
	$(NODE) npm run --silent types >/dev/null

UV_COMPILE := $(PYTHON_BIN) -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-annotate --custom-compile-command 'make lock' $(UV_FLAGS)
lock: .venv/.dev ## pin every dependency again, by hash (UV_FLAGS=--upgrade for newer ones)
	$(UV_COMPILE) pyproject.toml --output-file requirements.lock
	$(UV_COMPILE) pyproject.toml --extra export --group build --constraint requirements.lock --output-file requirements-export.lock
	$(UV_COMPILE) pyproject.toml --extra export --extra trace --group build --group dev --constraint requirements-export.lock --output-file requirements-dev.lock
	$(UV_COMPILE) pyproject.toml --extra trace --constraint requirements-dev.lock --output-file requirements-trace.lock
	$(UV_COMPILE) pyproject.toml --extra export --extra trace --group build --group dev --group bench --constraint requirements-dev.lock --output-file requirements-bench.lock
	$(foreach client,$(CLIENTS),$(UV_COMPILE) tests/clients/$(client)/requirements.in --output-file tests/clients/$(client)/requirements.lock;)
	$(UV_COMPILE) --group fuzz --output-file requirements-fuzz.lock
	$(UV_COMPILE) --group node --output-file requirements-node.lock
	rm -rf node_modules # npm would write only the optional packages that are installed here
	$(NODE) npm install --package-lock-only --ignore-scripts
	$(NODE) npm --prefix tests/clients/web install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved

clean: ## remove what the other targets made
	rm -rf .venv .node node_modules .wrangler .build build lifeboat.egg-info worker/env.d.ts
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
