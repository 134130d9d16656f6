# make book: the book in _build/html · make serve: read it on localhost · make pdf: all of it in _build/book.pdf
# make test: everything that is checked · make course, make grade: the practices for a class

PYTHON ?= python3
PIP_ARGS ?=
PORT ?= 8000
BIN := .venv/bin
READY := .venv/.installed
export OMP_NUM_THREADS ?= 1

.PHONY: book serve pdf test bench course grade normalize lab clean

book: $(READY)  ## build the book, strictly
	@start=$$(date +%s); $(BIN)/jupyter-book build . -W -n --keep-going \
	&& echo "The book is in $(CURDIR)/_build/html/index.html, built in $$(($$(date +%s) - start)) s."

serve: $(READY)  ## show the built book on localhost, compressed
	@$(BIN)/python tools/serve.py --port $(PORT)

pdf: book  ## print the book as one PDF, with an installed Chromium
	@$(BIN)/python tools/pdf.py

test: $(READY)  ## linters, unit tests, doctests, every notebook, the book, its pages in a browser
	@$(BIN)/python tools/run_tests.py

bench: $(READY)  ## measure sgdlib against its named peers
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -r requirements-bench.txt
	$(BIN)/python -m benchmarks

course: $(READY)  ## make the practices for a class, and a course that nbgrader grades
	@$(BIN)/python tools/course/make.py

grade: $(READY)  ## grade a folder of downloads: make grade DOWNLOADS=folder
	@$(BIN)/python tools/course/grade.py "$(DOWNLOADS)"

normalize: $(READY)  ## execute every notebook and store it without its figures
	$(BIN)/python tools/normalize.py --execute

lab: $(READY)  ## open the chapters in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=chapters $(if $(filter 0,$(shell id -u)),--allow-root)

clean:  ## remove what was built (rm -r .venv removes the environment)
	rm -rf _build build .pytest_cache .hypothesis .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -r {} +

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --no-deps --no-build-isolation --editable .
	@touch $@
