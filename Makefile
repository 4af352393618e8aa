# Everything starts in .venv; nothing outside this folder is touched.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: try test docs audit setup pack clean

try: .venv/ready  ## down to a quarter of each side, back up, measured beside bicubic
	$(BIN)/python demo/try.py

test: .venv/ready  ## lint, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive rescale demo .ci
	$(BIN)/pytest -q -n 2 --dist worksteal

docs: .venv/ready  ## the documentation, into site/; a broken link fails
	$(BIN)/mkdocs build --strict

audit: .venv/ready  ## known vulnerabilities of what is installed, or a line that they could not be found out
	$(BIN)/python .ci/audit.py

setup: .venv/ready

pack:  ## code and training pictures (DATA="FOLDER ...") as one archive, see weights/away.sh
	@test -n "$(DATA)" || { echo 'expected DATA="FOLDER ..." of training pictures' >&2; exit 2; }
	mkdir -p runs
	git archive -o runs/pack.tmp HEAD pyproject.toml rescale weights
	for folder in $(DATA); do \
	  tar -rf runs/pack.tmp --transform "s,^,pictures/," -C "$$(dirname $$folder)" "$$(basename $$folder)" || exit 1; done
	mv runs/pack.tmp runs/pack.tar

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv demo/out runs/pack.tar site
