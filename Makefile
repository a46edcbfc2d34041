# make book   build the study into _build/html           make test   run the test suite
# make serve  open the built site on localhost           make lint   check style and types
# make release  an archive with everything, in dist/    make clean  remove what these made
# Every target sets up what it needs (.venv and system tools) and is safe to run twice.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PORT ?= 8000
WORKERS ?= 2
VENV := .venv
PINNED := $(VENV)/.torch-installed
READY := $(VENV)/.installed
HTML := _build/html

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: book test lint serve release clean constraints system-tools
.DELETE_ON_ERROR:

book: $(READY) | system-tools
	$(VENV)/bin/jupyter-book build book/ -W -n --keep-going
	@echo "$(abspath $(HTML))/index.html"

test: $(READY) | system-tools
	$(VENV)/bin/python -m pytest -q -n $(WORKERS)

lint: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

serve:
	@test -f $(HTML)/index.html || { echo "No site yet. Run: make book" >&2; exit 1; }
	@echo "http://127.0.0.1:$(PORT)/ (Ctrl-C stops it)"
	@$(PYTHON) -m http.server $(PORT) --bind 127.0.0.1 --directory $(HTML)

# The site, all it was made from and a PDF in one archive, from which `flexlib regrade` runs.
release: book
	@PYTHON=$(PYTHON) tools/system-tools $$(command -v chromium >/dev/null || echo chromium)
	$(VENV)/bin/python -m flexlib.book.release

clean:
	rm -rf $(VENV) _build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info

system-tools:
	@PYTHON=$(PYTHON) tools/system-tools

# Rebuilt from nothing when a pin changes: an environment that was only updated may differ from the
# pinned one. torch comes first and alone: asked for together with others it may be exchanged for
# a build with several GB of CUDA libraries.
$(PINNED): constraints.txt | system-tools
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed. Run: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install -q "$$(grep '^torch==' constraints.txt)"
	@touch $@

$(READY): $(PINNED) pyproject.toml
	$(VENV)/bin/pip install -q -c constraints.txt -e '.[book,cluster,gguf,test]'
	@touch $@

# New pins: solve the ranges of pyproject.toml afresh. Do it on Debian 12: a later patch release of
# Python admits packages that its 3.11.2 does not. torch's pin is kept; change it by hand. A local
# version such as 2.13.0+cpu is no part of a pin.
constraints:
	$(PYTHON) -m venv --clear $(VENV)-new
	$(VENV)-new/bin/pip install -q "$$(grep '^torch==' constraints.txt)"
	$(VENV)-new/bin/pip install -q -e '.[book,cluster,gguf,test]'
	{ head -1 constraints.txt; \
	  $(VENV)-new/bin/pip freeze --exclude-editable | sed 's/+.*//' | sort -f; } > constraints.txt.new
	mv constraints.txt.new constraints.txt
	rm -rf $(VENV)-new
