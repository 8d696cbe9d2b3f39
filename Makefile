# `make help` says what there is. Everything that is built lies in the cache folder outside the tree
# (DASK_GITOPS_CACHE, default ~/.cache/dask-gitops).
PYTHON ?= python3
TIERS ?= gitops dask cluster unit chart
NAME ?= local
export PYTHONPATH := controller:.
export PYTHONUNBUFFERED := 1
venv = $(shell $(PYTHON) ci/venv.py)

.PHONY: help demo test soak mutants bench kubernetes kubernetes-down kubernetes-status gitops-lab gitops-lab-down images packages run schema format

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Dask computes on workers that a values file declares. KEEP=1 leaves it running; CONTEXT=... REGISTRY=... uses your Kubernetes
	@$(PYTHON) ci/demo $(if $(CONTEXT),--context $(CONTEXT)) $(if $(REGISTRY),--registry $(REGISTRY)) $(if $(KEEP),--keep)

test: ## all tests: unit, chart, cluster (real API server), gitops (real Argo CD and Flux), dask (real node). TIERS="unit chart" runs some
	@python=$$($(PYTHON) ci/venv.py) && $(PYTHON) ci/kubernetes build --for "$(TIERS)" && $$python -m pytest -n 3 --no-loadscope-reorder $(TIERS:%=tests/%)

soak: ## the long cases and full sizes that `make test` leaves out
	@python=$$($(PYTHON) ci/venv.py) && $(PYTHON) ci/kubernetes build --for "$(TIERS)" && $$python -m pytest -m soak $(TIERS:%=tests/%)

mutants: ## changes lines where meaning is dense, one after the other: a unit test must see each. ONLY="plan/drain.py" changes some
	@python=$$($(PYTHON) ci/venv.py) && $(PYTHON) ci/kubernetes build --no-packages --only kubectl,helm,helm3 > /dev/null && $$python ci/mutants.py "$(ONLY)"

bench: ## this controller beside the existing operator, below 5 minutes. BENCH="full" or "idle-long": long ones; BENCH=--help lists all
	@python=$$($(PYTHON) ci/venv.py) && $$python -m bench $(BENCH)

kubernetes: ## a real local Kubernetes with one node, for developers
	@$(PYTHON) ci/kubernetes up --name $(NAME)

kubernetes-down: ## stop it and leave nothing behind
	@$(PYTHON) ci/kubernetes down --name $(NAME)

kubernetes-status: ## what runs, and how it is
	@$(PYTHON) ci/kubernetes status --name $(NAME)

gitops-lab: ## Argo CD and Flux keep an example repository true, on the real local node (as root) or on pretended ones; says what to edit and push
	@$(PYTHON) ci/gitops tour

gitops-lab-down: ## end it and leave nothing behind
	@$(PYTHON) ci/gitops down

images: ## build the controller's image and the demo's Dask image, and load them into the local node
	@$(PYTHON) ci/kubernetes images

packages: ## dask-gitops and dask-clusters (only the clusters, for teams) as archives in dist/
	@$(PYTHON) ci/packages.py dist

run: ## the controller as a process with your current kubeconfig
	@$(venv) -m dask_gitops

schema: ## values.schema.json and docs/values.md from values.schema.yaml; gitops/argocd's settings from its scripts
	@$(venv) ci/schema.py
	@$(venv) ci/argocd.py

format: ## format the code
	@$(venv) -m ruff check --fix . ; $(venv) -m ruff format .
