# The targets of this file are the project's whole interface: CI runs the same ones.
# They need Python 3.11 to 3.13 and make; everything else is installed into .venv from the locks.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# The first interpreter in the supported range; PYTHON=... overrides it.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
CODE := $(wildcard bench deploy gatewayctl libs services tests)
OVERLAYS := dev prod
# What the compose file demands; `make up` writes them to .env.
SECRETS := ADMIN_API_KEY $(shell sed -n 's/^\(.*_PASSWORD\)=$$/\1/p' .env.example)

# STACK=docker or STACK=local; by default Docker where an engine answers, else local processes.
STACK ?= $(shell docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1 \
	&& echo docker || echo local)

# litellm must never fetch its price map from the network.
export LITELLM_LOCAL_MODEL_COST_MAP := True
export PYTHONUNBUFFERED := 1
# The tests start a service some hundred times, and each start would compile all of it again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show the targets
	@awk 'BEGIN {FS = ":.*## "; print "Usage: make TARGET\n"} \
		/^[a-z.][a-z.-]*:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# --- Environments -------------------------------------------------------------------------------

.PHONY: .venv
.venv: .venv/.installed ## Make the environment (when missing, or when its lock changed)

# The tools of `workflows` and `audit` share no dependency with the project.
.venv/.installed: requirements/dev.txt
.venv-ci/.installed: requirements/ci.txt
# LiteLLM Proxy, which `bench-peers` measures.
.venv-peers/.installed: requirements/peers.txt

# A lock is complete, so pip need not resolve (--no-deps) and every file is checked by its hash.
.venv/.installed .venv-ci/.installed .venv-peers/.installed:
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11, 3.12 or 3.13 on PATH, or PYTHON=..." >&2; exit 1; }
	@echo "Installing $< into $(@D) (once; a minute or two)"
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

.PHONY: lock
lock: .venv ## Resolve pyproject.toml into requirements/*.txt again
	@$(PYTHON) deploy/lock.py $(BIN)/uv

# --- The stack ----------------------------------------------------------------------------------

.PHONY: up down status logs demo
up: .venv ## Start the stack and print a request that works (STACK=local: without Docker)
	@$(BIN)/python -m deploy.local up --stack $(STACK)
down: .venv ## Stop the stack; the data stays
	@$(BIN)/python -m deploy.local down
status: .venv ## Show what runs
	@$(BIN)/python -m deploy.local status
logs: .venv ## Follow the logs (SERVICE=gateway for one)
	@$(BIN)/python -m deploy.local logs $(SERVICE)
demo: .venv ## A tour: a call, a stream, the entry, the spend, the proof
	@$(BIN)/python -m deploy.local demo
.PHONY: pin-images
pin-images: .venv ## Print the base and database images with their digests, for .env
	@$(BIN)/python -m deploy.local.image_pins

# --- Checks -------------------------------------------------------------------------------------

.PHONY: test test-dates lint manifests check format
# Tests wait for servers more than they compute, so two files run at a time, each on servers of its
# own. What somebody asks for takes fewer examples of a property, and unless it is a whole suite,
# such as tests/unit, it stays in one process. AT is a time of its own, where there is a C compiler
# (cc).
SUITES := $(patsubst %/.,%,$(wildcard tests/*/.))
test: .venv ## Run every test (ARGS="tests/unit -k name" for some, AT=2028-02-29T12:00:00)
	@$(if $(ARGS),,HYPOTHESIS_PROFILE=full) $(BIN)/python -m $(if $(AT),tests.dates --or-today \
		--at $(AT) -- $(or $(ARGS),tests),pytest $(ARGS) \
		$(if $(filter-out $(SUITES),$(ARGS)),,-n 2 --dist loadfile))

# Needs Linux and cc; ARGS="--at 2027-01-03T23:58:00 --zone Asia/Tokyo tests/service/admin" for some.
test-dates: .venv ## Run unit and service tests with the wall clock at odd dates
	@$(BIN)/python -m tests.dates $(ARGS)

lint: .venv ## ruff, mypy --strict, import rules
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# kustomize's output goes through a variable, because in a pipe its failure would pass as an empty
# document; and the validator only warns about a kind it does not know, so that any word of it fails.
manifests: .venv ## Validate the Dockerfile, the compose file and the Kubernetes overlays
	$(BIN)/hadolint Dockerfile
	@echo "docker-compose --profile stand-in config -q"
	@env $(foreach name,$(SECRETS),$(name)=unused) \
		$(BIN)/docker-compose --profile stand-in config -q
	@for overlay in $(OVERLAYS); do \
		echo "kubectl kustomize deploy/k8s/overlays/$$overlay | kubernetes-validate --strict"; \
		manifests=$$($(BIN)/kubectl kustomize deploy/k8s/overlays/$$overlay) || exit 1; \
		problems=$$(printf '%s\n' "$$manifests" | $(BIN)/kubernetes-validate --strict --quiet - 2>&1) \
			&& [ -z "$$problems" ] || { echo "$$problems"; exit 1; }; \
	done

# The tests come last, so that their summary closes the output. They run on a day that not every year
# has, in a zone far ahead, which finds what depends on the date as well.
check: AT := 2028-02-29T12:00:00 --zone Pacific/Kiritimati
check: lint manifests test ## Everything a change has to pass

.PHONY: workflows audit images base-image sbom test-images
WORKFLOWS := $(wildcard .github/workflows/*.yml)
workflows: .venv-ci/.installed ## Check the GitHub workflows: their schema, pins and permissions
	.venv-ci/bin/check-jsonschema --builtin-schema vendor.github-workflows $(WORKFLOWS)
	.venv-ci/bin/zizmor --offline --no-progress --persona pedantic .github/workflows
# The services' locks hold versions of the development lock alone.
audit: .venv-ci/.installed ## Look for known vulnerabilities in the locks (asks PyPI)
	for lock in dev ci; do \
		.venv-ci/bin/pip-audit --progress-spinner off --disable-pip --require-hashes \
			--requirement requirements/$$lock.txt || exit 1; \
	done
# BASE=image where python:3.13-slim cannot be had; `make base-image` makes one of Debian's packages.
images: ## Build the image of each service, by Docker or else by Buildah
	@deploy/images/build.sh
base-image: ## Make a base image of Debian's packages (needs root, debootstrap and buildah)
	@deploy/images/debian_base.sh
sbom: ## Write what the built images hold, as CycloneDX, to .local/sbom
	@deploy/images/sbom.sh .local/sbom
test-images: .venv ## Look into the built images, start them and call them
	@TEST_IMAGES=1 $(BIN)/python -m pytest tests/images $(ARGS)

format: .venv ## Format the code
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

.PHONY: test-api
test-api: .venv ## Send thousands of generated requests to every endpoint of both services
	@HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest $(or $(ARGS),tests/service/admin/test_any_request.py \
		tests/service/gateway/test_any_request.py tests/service/gateway/test_any_body.py)

.PHONY: golden
golden: .venv ## Write the golden conversations of translation anew, for review as a diff
	@$(BIN)/python -m tests.unit.translation.golden
	@git diff --stat -- tests/unit/translation/golden

.PHONY: cli-docs
cli-docs: .venv ## Write the commands of gatewayctl into docs/cli.md
	@$(BIN)/python -m gatewayctl.reference docs/cli.md

.PHONY: cli-picture
cli-picture: .venv ## Take the picture of gatewayctl in docs/images, on a stack of its own
	@$(BIN)/python -m tests.e2e.cli_picture docs/images/gatewayctl.svg

# --- Proofs and measurements ---------------------------------------------------------------------

# Needs node, npm and a gigabyte for a while; AGENTS_DIR=directory keeps what npm installs.
.PHONY: test-agents
test-agents: .venv ## Run Claude Code, Codex and the AI SDK against a local stack (asks npm's registry)
	@TEST_AGENTS=1 $(BIN)/python -m pytest tests/agents $(ARGS)

# Needs promtool, which is in a package of Debian's: apt-get install prometheus
.PHONY: test-alerts
test-alerts: .venv ## Make every alert rule fire, and check the metrics, with promtool
	@command -v promtool >/dev/null || { echo "make: needs promtool (apt-get install prometheus)" >&2; exit 1; }
	@$(BIN)/python -m pytest tests/unit/deploy/test_alerts.py tests/unit/test_metrics.py $(ARGS)

# Needs Prometheus, which is a package of Debian's: apt-get install prometheus
# FAULTS_PICTURE=docs/images/faults.svg draws what the panels showed of each fault.
PROMETHEUS ?= $(shell command -v prometheus)
.PHONY: dashboards test-dashboards
dashboards: .venv ## Write Grafana's dashboard and the operator's alert rules anew
	@$(BIN)/python -m deploy.grafana
	@$(BIN)/python -m deploy.prometheus
test-dashboards: .venv ## Ask a real Prometheus, which scrapes a stack, every query of dashboard and alerts
	@test -x "$(PROMETHEUS)" || { echo "make: needs prometheus (apt-get install prometheus)" >&2; exit 1; }
	@PROMETHEUS=$(PROMETHEUS) $(BIN)/python -m pytest tests/dashboards $(ARGS)

# Needs nginx with Lua: apt-get install nginx libnginx-mod-http-lua lua-resty-core
NGINX ?= $(shell PATH=$$PATH:/usr/sbin command -v nginx)
.PHONY: test-rollout
test-rollout: .venv ## Roll every service and back under load behind nginx, by the manifests' numbers (4 minutes)
	@test -x "$(NGINX)" || { echo "make: needs nginx (apt-get install nginx libnginx-mod-http-lua lua-resty-core)" >&2; exit 1; }
	@NGINX=$(NGINX) $(BIN)/python -m pytest tests/rollout $(ARGS)

# Needs PostgreSQL, which is a package of Debian's: apt-get install postgresql
POSTGRES_BIN ?= $(lastword $(sort $(wildcard /usr/lib/postgresql/*/bin)))
.PHONY: test-migration
test-migration: .venv ## Read the tables of a LiteLLM Proxy out of a real PostgreSQL, and out of its dumps
	@test -x "$(POSTGRES_BIN)/initdb" || { echo "make: needs PostgreSQL (apt-get install postgresql, or POSTGRES_BIN=...)" >&2; exit 1; }
	@POSTGRES_BIN=$(POSTGRES_BIN) $(BIN)/python -m pytest tests/migration $(ARGS)

# Needs Chromium, which is a package of Debian's: apt-get install chromium
CHROMIUM ?= $(shell command -v chromium)
.PHONY: test-console
test-console: .venv ## Walk through the console in a browser, and look at every page with axe
	@test -x "$(CHROMIUM)" || { echo "make: needs Chromium (apt-get install chromium, or CHROMIUM=...)" >&2; exit 1; }
	@CHROMIUM=$(CHROMIUM) $(BIN)/python -m pytest tests/browser $(ARGS)
.PHONY: pictures
pictures: .venv ## Take the pictures of the console in docs/images
	@CHROMIUM=$(CHROMIUM) $(BIN)/python -m tests.browser.pictures docs/images

.PHONY: bench bench-accounts bench-admin bench-cluster bench-ledger bench-peers bench-pieces chaos
bench: .venv ## Measure what the gateway adds, beside a bare relay (ARGS="--rounds 5")
	@$(BIN)/python -m bench $(ARGS)
bench-ledger: .venv ## Measure events per second from the queue to the commit
	@$(BIN)/python -m bench.ledger $(ARGS)
bench-cluster: .venv ## Measure a call on a Redis Cluster, beside one Redis
	@$(BIN)/python -m bench.cluster $(ARGS)
bench-admin: .venv ## Measure the operators' API over 100,000 entries (ARGS="--rows 1000000")
	@$(BIN)/python -m bench.admin $(ARGS)
bench-accounts: .venv ## Measure a call and the proof among few accounts and many
	@$(BIN)/python -m bench.accounts $(ARGS)
bench-peers: .venv .venv-peers/.installed ## Measure a call beside LiteLLM Proxy's (ARGS="--build CHECKOUT" adds a build)
	@$(BIN)/python -m bench.peers --litellm .venv-peers/bin/litellm $(ARGS)
bench-pieces: .venv ## Measure our own group commit, cache, spool, clients beside a library's
	@$(BIN)/python -m bench.pieces
chaos: .venv ## Kill and pause everything at random under load, then check the books (ARGS="--seeds 4 5")
	@$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: clean
clean: ## Stop the stack, remove its data, the environments and all caches
	@test ! -x $(BIN)/python || $(BIN)/python -m deploy.local down --with-data
	rm -rf .local .venv .venv-ci .venv-peers .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
