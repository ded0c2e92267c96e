.PHONY: check format docs speed gpu

check:  ## everything that CI checks, in an environment with .[dev]
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	python benchmarks/structure.py
	mkdocs build --strict --quiet
	python -m pytest -n 2

format:  ## what can be mended by machine
	ruff check --fix .
	ruff format .

docs:  ## the documentation, live
	mkdocs serve

speed:  ## how fast everything is: docs/performance.md; about a quarter of an hour, on an idle machine
	python benchmarks/speed/run.py
	cp benchmarks/results/speed/speed.png docs/performance.png

gpu:  ## checks and measures a GPU: docs/performance.md; sized for eight minutes on an H100
	bash benchmarks/gpu/check.sh
