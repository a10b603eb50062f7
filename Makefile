# Every target is a few lines that one could type. PYTHON chooses the interpreter, 3.11 to 3.13.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
LONG_MUTANTS ?= 100000

MINUTES ?= 25
DEVICE ?= cuda
DATA ?= $(CLARIVOX_DATA)

.PHONY: weights claims help setup demo test check e2e fuzz chaos bench bench-ci bench-gpu long results wheel licences figures slicer viewer web picture clean

help:            ## this list
	@grep -E '^[a-z0-9-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

.venv/python: 
	$(PYTHON) -m venv .venv
	@touch $@

.venv/bare: .venv/python pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

.venv/test: .venv/bare
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps monailabel==0.8.5 # its client is a peer of the tests; its own dependencies do not install today
	@touch $@

setup: .venv/test ## a virtual environment in .venv with everything the tests need

demo: .venv/bare ## a phantom study in, an enhanced DICOM series and a page out, in demo/
	$(BIN)/clarivox demo --output demo --overwrite

test: .venv/test ## unit and contract tests
	$(BIN)/python -m pytest

check: .venv/test ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p clarivox

apps/web/dist/index.html: apps/web/package-lock.json apps/web/build.mjs $(wildcard apps/web/src/* apps/ohif/*.js)
	cd apps/web && npm ci --no-audit --no-fund --silent && npm run --silent build

web: apps/web/dist/index.html ## the companion page, from apps/web/src by esbuild

viewer: .venv/test ## OHIF for clarivox serve --viewer, by npm; not fetched again where it is
	@$(BIN)/python -c "from clarivox.server import settings, viewer_files as v; v.folder_of(settings.Settings())" 2>/dev/null \
		|| $(BIN)/clarivox viewer install

e2e: .venv/test web viewer ## whole programs: servers, browsers, the wheel, a PACS; what fails is run once more
	$(BIN)/python -m tests.twice tests/e2e

fuzz: .venv/test ## 2,000 damaged files, read in limited children
	$(BIN)/python -m tests.fuzz --mutants 2000

chaos: .venv/test ## 100 random SIGKILLs of a server at work, and what it lost
	$(BIN)/python -m tests.chaos kills --hits 100 --jobs 150

bench: .venv/test ## every benchmark at full size, JSON under bench/
	$(BIN)/python -m tests.benchmarks --json bench

bench-ci: .venv/test ## the ratio benchmarks, small
	$(BIN)/python -m tests.benchmarks --json bench --small

bench-gpu: .venv/test ## 512^3 in memory on a GPU
	$(BIN)/python -m tests.benchmarks.gpu

long: .venv/test ## before an issue is closed; JSON under docs/long/
	$(BIN)/python -m tests.benchmarks --json docs/long
	$(BIN)/python -m tests.fuzz --mutants $(LONG_MUTANTS) --json docs/long/fuzz.json
	$(BIN)/python -m tests.chaos kills --hits 1000 --jobs 5000 --drain 7200 --json docs/long/chaos_kills.json
	$(BIN)/python -m tests.chaos kills --postgres --hits 200 --jobs 1000 --drain 3600 --json docs/long/chaos_kills_postgres.json
	$(BIN)/python -m tests.chaos stops --hits 200 --jobs 1000 --json docs/long/chaos_stops.json
	$(BIN)/python -m tests.chaos full --json docs/long/chaos_full.json
	$(BIN)/python -m tests.chaos cuts --hits 200 --json docs/long/chaos_cuts.json
	$(BIN)/python -m tests.pacs_loop --minutes 10 --instances 500 --json docs/long/pacs_loop.json
	$(BIN)/python -m tests.benchmarks.viewer --json docs/long/viewer.json

weights: .venv/bare ## train every bundle anew into weights/, DATA=DIR MINUTES=25 DEVICE=cuda; run it again to go on
	$(BIN)/python -m clarivox.train_all $(DATA) --minutes $(MINUTES) --device $(DEVICE) --output weights

wheel: .venv/test web ## dist/*.whl and dist/*.tar.gz
	$(BIN)/python -m build --quiet

licences: .venv/bare ## docs/licences.md: what clarivox stands on
	$(BIN)/python -m tests.licences > docs/licences.md

results: .venv/test ## docs/RESULTS.md from scratch: experiments, benchmarks, page; hours
	$(BIN)/python -m tests.experiments --json docs/long
	$(BIN)/python -m tests.benchmarks --json docs/long
	$(BIN)/python -m tests.results docs/long > docs/RESULTS.md

figures: ## what is printed from stored figures: docs/figures.md, docs/RESULTS.md, README's list of bundles
	$(BIN)/python -m tests.figures docs/long > docs/figures.md
	$(BIN)/python -m tests.results docs/long > docs/RESULTS.md
	$(BIN)/python -m tests.bundle_list

claims:          ## docs/claims.md, from docs/long/claims.json
	$(BIN)/python -m tests.claims docs/long > docs/claims.md

slicer:          ## the client within the 3D Slicer extension, from clarivox/
	cp clarivox/client.py clarivox/client_wire.py clarivox/errors.py apps/slicer/Clarivox/ClarivoxLib/clarivox/

picture: .venv/bare ## docs/picture.png of the README
	$(BIN)/python -m tests.picture

clean:           ## what the other targets made
	rm -rf .venv build dist demo bench clarivox.egg-info
