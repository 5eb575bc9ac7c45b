# Meshmart. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
PYTEST := $(BIN)/pytest
# Without compiled files every process of a test compiles what it imports, and every worker all tests.
unexport PYTHONDONTWRITEBYTECODE
# Tests wait more than they compute: more workers than cores. WORKERS=0 runs them in one process, in order.
WORKERS ?= 4
SPREAD := -n $(WORKERS) --dist worksteal
PROTOS := $(sort $(wildcard protos/ecommerce/*.proto))
generated = --python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) \
  --mypy_grpc_out=quiet,only_async,generate_concrete_servicer_stubs:$(1)
say = @printf '\033[1m==> %s\033[0m\n' $(1)

.PHONY: help setup setup-dev proto manifests theme fmt lint docs plots test test-postgres test-simulation test-conformance test-spire test-speed dist test-dist test-wheel test-versions test-e2e test-tour test-soak test-cluster test-browser test-lessons test-pages screenshots test-chart test-tilt test-image image bench soak demo lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(RUN):
	$(call say,"making a virtual environment in $(VENV)")
	@command -v $(PYTHON) >/dev/null || { echo "meshmart: $(PYTHON) is not installed (3.11 or newer is needed)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "meshmart: $$($(PYTHON) --version) is too old: 3.11 or newer is needed; name another with PYTHON=" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "meshmart: $(PYTHON) -m venv failed; on Debian: apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }

# A stamp a set of locked packages: a changed lock installs again, an unchanged one costs nothing.
$(VENV)/.run: requirements.lock pyproject.toml mesh/pyproject.toml | $(RUN)
	$(call say,"installing the locked packages (a minute the first time)")
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e ./mesh -e .
	@# Eleven processes start at once: none should have to compile first.
	@$(RUN) -m compileall -q mesh/src services local meshmart protos
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(call say,"installing the locked development packages")
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.run ## installs what the demo needs into .venv
setup-dev: $(VENV)/.dev ## installs what tests and linters need too

# UP: more options, such as UP=--quiet for no standing load.
demo: $(VENV)/.run ## starts the shop on http://127.0.0.1:8080 and its live map on :8081; Ctrl-C stops it
	@exec $(BIN)/meshmart up --load 3 $(UP)

# OUT: where the code goes instead, for comparing.
proto: $(VENV)/.dev ## generates the code of the protos beside them
	@PATH=$(CURDIR)/$(BIN):$$PATH $(RUN) -m grpc_tools.protoc -Iprotos $(call generated,$(or $(OUT),protos)) $(PROTOS)
	@PATH=$(CURDIR)/$(BIN):$$PATH $(RUN) -m grpc_tools.protoc -Imesh/src $(call generated,$(or $(OUT),mesh/src)) mesh/src/grpcmesh/testing/ping.proto mesh/src/grpcmesh/fault/fault.proto mesh/src/grpcmesh/health/list.proto mesh/src/grpcmesh/identity/workload_api.proto

manifests: $(VENV)/.dev ## writes what follows from the services' manifests: policy, chart, import contracts, docs/methods.md
	@$(RUN) -m tools.manifests
	@$(RUN) tools/methods-table

theme: ## copies the shared style sheet into the library, whose admin page has it too
	@cp services/look/theme.css mesh/src/grpcmesh/admin/theme.css

fmt: $(VENV)/.dev ## formats the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix-only --quiet .

lint: $(VENV)/.dev ## ruff, mypy, import-linter, buf lint and breaking, drift of generated code
	$(call say,"ruff")
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .
	$(call say,"mypy --strict")
	@$(BIN)/mypy
	@cd mesh && ../$(BIN)/mypy
	$(call say,"import-linter")
	@$(BIN)/lint-imports
	@cd mesh && ../$(BIN)/lint-imports
	$(call say,"buf lint and buf breaking")
	@PATH=$(CURDIR)/$(BIN):$$PATH tools/check-protos
	$(call say,"policy chart import contracts and docs/methods.md are what the manifests say")
	@$(RUN) -m tools.manifests --check
	@$(RUN) tools/methods-table --check
	$(call say,"mesh/docs/configuration.md is what the code says")
	@cd mesh && ../$(RUN) -m doctools.configuration --check

docs: $(VENV)/.dev ## builds the library's documentation as a site in mesh/build/site; a warning is an error
	@cd mesh && ../$(BIN)/mkdocs build --strict

# Side by side: the library's tests wait for most of their time, the shop's compute.
test: $(VENV)/.dev ## unit and integration tests of the library and, on SQLite, of the shop, side by side
	$(call say,"unit and integration tests: the library and the shop side by side")
	@tools/beside library "cd mesh && ../$(PYTEST) $(SPREAD) tests/unit tests/integration" \
	  shop "$(PYTEST) $(SPREAD) -m 'not postgres' tests/unit tests/integration"

test-postgres: $(VENV)/.dev ## the shop's unit and integration tests on PostgreSQL
	@$(PYTEST) $(SPREAD) -m postgres tests/unit tests/integration

test-simulation: $(VENV)/.dev ## a thousand clients and 300 servers in virtual time, on the library's own decisions
	@cd mesh && ../$(PYTEST) tests/simulation

test-conformance: $(VENV)/.dev ## gRPC's interop tests and Connect's conformance suite, both ways (needs Go)
	@cd mesh && ../$(PYTEST) tests/conformance

test-spire: $(VENV)/.dev ## workloads with certificates of a real SPIRE, which Go builds (needs root); not in CI, which would take too long
	@cd mesh && ../$(PYTEST) tests/spire

test-speed: $(VENV)/.dev ## guards: the stack's CPU against bare grpc.aio, and a pick at 3, 30 and 300 endpoints
	@cd mesh && ../$(PYTEST) tests/speed
	@$(PYTEST) tests/speed

plots: $(VENV)/.dev ## draws the simulator's pictures in mesh/docs/images
	@cd mesh && ../$(RUN) -m tests.simulation.plots

# The library by itself: what its wheel brings, and nothing of the shop.
test-wheel: $(VENV)/.dev ## the library's tests in an environment that holds only its wheel and its test dependencies
	@tools/test-wheel

dist: $(RUN) ## builds the library's sdist and wheel in mesh/dist and checks them: contents, metadata, changelog
	@tools/dist

test-dist: dist ## installs them on each Python from 3.11 to 3.14 that is here, and makes a call over mutual TLS
	@tools/test-dist

test-versions: $(VENV)/.dev ## the library's tests with the lowest versions that it declares of its dependencies
	@tools/test-versions

test-e2e: $(VENV)/.dev ## drives the meshmart command
	@$(PYTEST) tests/e2e -m "not tour and not browser and not lessons and not pages and not soak"

test-tour: $(VENV)/.dev ## the tour: each scene keeps its bounds, and fails without its feature (measures: wants a quiet machine)
	@$(PYTEST) tests/e2e -m tour

test-soak: $(VENV)/.dev ## a minute and a half of the soak (needs PostgreSQL); not in CI, which would take too long
	@$(PYTEST) tests/e2e -m soak

test-dashboards: $(VENV)/.dev ## rules by promtool; dashboards on a real Prometheus that scrapes the shop
	@$(PYTEST) -n 2 --dist loadfile tests/observability # one file has the shop, and waits for most of its time

test-cluster: $(VENV)/.dev ## the command on a real Kubernetes: MESHMART_TEST_CONTEXT names the kubeconfig's context
	@$(PYTEST) tests/cluster -rs

test-browser: $(VENV)/.dev ## a checkout in headless Chromium
	@$(PYTEST) tests/e2e -m browser

test-lessons: $(VENV)/.dev ## the console's six lessons in headless Chromium, each by its measurement; not in CI, which would take too long
	@$(PYTEST) tests/e2e -m lessons

test-pages: $(VENV)/.dev ## every page by axe-core, light and dark, desk and phone, and by the keyboard alone; not in CI
	@$(PYTEST) -n 2 --dist worksteal tests/e2e -m pages

# PICTURES: where they go. docs/pages.md shows them.
screenshots: $(VENV)/.dev ## takes the pictures of every page (needs Chromium)
	@$(RUN) tools/screenshots $(or $(PICTURES),docs/images/pages)

test-chart: $(VENV)/.dev ## lints and renders the chart (needs Helm 3 and 4: tools/install-helm)
	@$(PYTEST) $(SPREAD) tests/chart

test-tilt: $(VENV)/.dev ## the Tiltfile and k8s/ (needs helm, and kustomize or kubectl)
	@$(PYTEST) tests/tilt

test-image: $(VENV)/.dev ## builds the image and runs containers of it (as root; needs runc, and buildah or docker)
	@$(PYTEST) tests/image

image: ## builds the image; BASE=debian where no registry is in reach (tools/image: more options)
	@tools/image

bench: $(VENV)/.dev ## CPU and latency per call against bare grpc.aio, alternating
	@$(RUN) bench/overhead.py

# DURATION: such as 10m. SEED: of the disturbances and the load. SOAK: more options, such as --rate 5.
soak: $(VENV)/.dev ## an hour of random disturbances under load on PostgreSQL; fails if a bound breaks (docs/soak.md)
	@PYTHONPATH=. $(RUN) -m bench.soak --duration $(or $(DURATION),1h) $(if $(SEED),--seed $(SEED)) $(SOAK)

lock: ## resolves pyproject.toml anew into the hashed locks (needs uv)
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
	  --no-emit-package grpcmesh --extra build pyproject.toml -o requirements.lock
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
	  --no-emit-package grpcmesh --extra build --extra dev pyproject.toml -o requirements-dev.lock
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
	  --group sbom -o requirements-sbom.lock
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
	  --group dist -o requirements-dist.lock

clean: ## removes what was built and the demo's state
	@[ ! -e .meshmart ] || $(BIN)/meshmart down >/dev/null 2>&1 || true
	@rm -rf $(VENV) .meshmart build *.egg-info mesh/src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache mesh/.mypy_cache mesh/.ruff_cache mesh/.pytest_cache mesh/.hypothesis mesh/.import_linter_cache mesh/build mesh/dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
