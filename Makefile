# The commands of the project. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-versions test-postgres test-faults test-celery test-ui test-clients ui map check house bench down
ARGS ?=

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 20

setup: ## install what is missing: packages in .venv, tools of tests and checks too, PostgreSQL with PostGIS
	@scripts/setup.sh

demo: ## load the sample city into the embedded PostGIS and show what is there; installs what that needs
	@scripts/isolated.sh scripts/setup.sh demo
	@scripts/isolated.sh scripts/demo.sh

test: setup ## the whole test suite (ARGS='-k name' for a part of it)
	@scripts/install_pgbouncer.sh
	@scripts/isolated.sh .venv/bin/pytest -n auto $(ARGS)

test-versions: setup ## the tests that lean on Dagster and SQLAlchemy, with their lowest and newest versions
	@scripts/install_pgbouncer.sh
	@scripts/isolated.sh scripts/test_versions.sh $(ARGS)

test-postgres: setup ## the tests of all that speaks SQL, on PostgreSQL 17 of Debian 13, or POSTGRES=16 of Ubuntu 24.04, 18 of Debian's development branch
	@scripts/isolated.sh scripts/test_postgres.sh $(ARGS)

test-faults: setup ## every fault at every step; writes its table into docs/reliability.md
	@scripts/isolated.sh .venv/bin/pytest flux_assets_tests/faults flux_assets_tests/orchestration/test_neighbours.py -m '' -n auto --fault-table docs/reliability.md $(ARGS)

test-celery: setup ## a release spread over Celery workers, and syncs on one; they are killed meanwhile, as Redis is; installs Redis
	@scripts/install_redis.sh
	@scripts/isolated.sh .venv/bin/pytest flux_assets_tests/workers -m '' $(ARGS)

test-ui: setup ## the UI in a real browser: a layer loaded by clicking, a failure explained
	@scripts/install_chromium.sh
	@scripts/isolated.sh .venv/bin/pytest flux_assets_tests/ui -m ui $(ARGS)

test-clients: setup ## map programs that read while tables move on: QGIS, GDAL, tipg, psql, GeoPandas; installs the first two
	@scripts/install_clients.sh
	@scripts/isolated.sh .venv/bin/pytest flux_assets_tests/clients -m '' $(ARGS)

ui: ## the Dagster UI and daemon on http://127.0.0.1:3000, until Ctrl-C
	@scripts/setup.sh run
	@scripts/ui.sh

map: ## the published tables on a map, live, on http://127.0.0.1:8088 (MAP_PORT), until Ctrl-C
	@scripts/setup.sh map
	@scripts/map.sh

check: setup ## format, lint, types, import layers, the files of deploy/; changes nothing
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@scripts/check_deploy.sh

house: setup ## figures of how the code is laid out
	@scripts/isolated.sh .venv/bin/python scripts/house.py $(ARGS)

bench: setup ## the benchmarks; results in bench/results/
	@.venv/bin/python -m bench $(ARGS)

down: ## stop what the project started
	@scripts/down.sh
