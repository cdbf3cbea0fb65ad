.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
LESSONS := $(wildcard notebooks/*.ipynb)
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=180 -p no:cacheprovider

.PHONY: help setup demo test soak mutants lint notebooks slides exercises map badges released figures samplers frontier unmasking family raster face-off bench weights emoji

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(INSTALLED) ## make .venv with everything in it (a second run does nothing)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup ## generate an image from a prompt, on the CPU, offline
	@$(BIN)/vqlearn generate "a small red circle above a large blue square" \
		--steps 25 --seed 0 --images 4 --out demo/picture.png

test: setup lint ## run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile
	cd $$(mktemp -d) && OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/tests/offline \
		$(CURDIR)/$(BIN)/python -m pytest $(NBVAL) --numprocesses 2 --dist loadscope \
		$(addprefix $(CURDIR)/,$(LESSONS))

soak: setup ## what takes long: nbgrader, full sizes (20 GB), 10,000 images, faults: figures/faults.md
	VQLEARN_NBGRADER=1 $(BIN)/python -m pytest tests/course/test_nbgrader.py
	VQLEARN_FULL_SIZE=1 $(BIN)/python -m pytest -rP tests/test_full_size.py tests/released/test_conversion_memory.py
	VQLEARN_LARGE_FOLDER=1 $(BIN)/python -m pytest -rP \
		tests/training/test_memory.py tests/cli/test_batch_memory.py
	VQLEARN_DAMAGED_FILES=1 $(BIN)/python -m pytest -rP tests/released/test_damaged_files.py
	VQLEARN_OFFICIAL_EDITS=1 $(BIN)/python -m pytest tests/released/test_conversion.py
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m faults

mutants: setup ## change one line at a time, and see what the tests notice: figures/mutants.json
	PYTHONPATH=tests $(BIN)/python -m mutation

lint: setup ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

notebooks: setup ## run the lessons that are stale, and store what they print
	OMP_NUM_THREADS=1 $(BIN)/python -m vqlearn.lessons.run $(LESSONS)
	$(BIN)/python -m vqlearn.lessons.table $(LESSONS)

slides: setup ## the lessons as slides, in slides/
	$(BIN)/jupyter nbconvert --to slides --output-dir slides --SlidesExporter.reveal_scroll=True \
		--SlidesExporter.reveal_width=1280 --SlidesExporter.reveal_height=800 $(LESSONS)

exercises: setup ## write the students' exercise notebooks, and the table of all exercises
	$(BIN)/vqlearn assign --out notebooks/exercises
	$(BIN)/python -m vqlearn.lessons.exercise_table

map: setup ## write the map of the code, vqlearn/README.md
	$(BIN)/python -m vqlearn.lessons.code_map

badges: setup ## REPO=owner/name: a Colab badge in every lesson (REPO= takes it away)
	$(BIN)/python -m vqlearn.lessons.badges "$(REPO)" $(LESSONS)
	$(MAKE) notebooks

released: setup ## write the tables of the released models, figures/released.md
	$(BIN)/python -m vqlearn.experiments.released_models

figures: setup ## make every figure of the shipped model again
	$(BIN)/python -m vqlearn.experiments shipped-model

samplers: setup ## measure four samplers again, two of them wrong: figures/samplers.json
	$(BIN)/python -m vqlearn.experiments samplers

frontier: setup ## every unmasking rule, accuracy and diversity by steps: figures/frontier.md
	OMP_NUM_THREADS=1 $(BIN)/python -m vqlearn.experiments frontier

unmasking: setup ## what every unmasking rule samples in small worlds, exactly: figures/unmasking.md
	OMP_NUM_THREADS=1 $(BIN)/python -m vqlearn.experiments unmasking

family: setup ## train every kernel once, small, on letters and digits: figures/kernels.json
	OMP_NUM_THREADS=1 $(BIN)/python -m vqlearn.experiments kernels

raster: setup ## train every raster network once, small: figures/autoregressive.json
	OMP_NUM_THREADS=1 $(BIN)/python -m vqlearn.experiments autoregressive

face-off: setup ## diffusion against autoregression, one budget: figures/comparison.md (14 hours)
	OMP_NUM_THREADS=1 $(BIN)/python -m vqlearn.experiments face-off

bench: setup ## speed and memory here, beside other libraries: figures/bench.md
	TQDM_DISABLE=1 PYTHONPATH=tests $(BIN)/python -m bench

weights: setup ## train the checkpoint from nothing in runs/scenes (2 hours on 2 cores), and measure it
	$(BIN)/vqlearn train tokens --out runs/scenes
	$(BIN)/vqlearn train text --out runs/scenes
	OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --nproc_per_node 2 -m vqlearn \
		train diffusion --out runs/scenes --batch-size 32 --mixed-precision bf16
	$(BIN)/vqlearn evaluate --model runs/scenes --out runs/scenes/evaluation.json

EMOJI := --data runs/emoji-data/train --image-size 32 --out runs/emoji
EMOJI_TOKENS := --codes 1024 --steps 10000
EMOJI_TEXT := --vocabulary 2048 --steps 3500
EMOJI_DIFFUSION := --steps 18000 --batch-size 32 --mixed-precision bf16

emoji: setup ## train a model of emoji in runs/emoji (3 hours on 2 cores), and measure it
	$(BIN)/python -m vqlearn.data.emoji
	$(BIN)/vqlearn train tokens $(EMOJI) $(EMOJI_TOKENS)
	$(BIN)/vqlearn train text $(EMOJI) $(EMOJI_TEXT)
	OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --nproc_per_node 2 -m vqlearn train diffusion \
		$(EMOJI) $(EMOJI_DIFFUSION)
	$(BIN)/vqlearn evaluate --model runs/emoji --data runs/emoji-data/held_out \
		--grid runs/emoji/samples.png --out runs/emoji/evaluation.json
