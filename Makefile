# make demo    sample from the weights in pretrained/, train them on with the embedded furniture, sample again; prints the paths of the galleries
# make clips   train a model of orbits on the 175 embedded ones, 40 minutes on two cores, and measure it: docs/clips.md
# make mesh    train a model that makes a mesh of pictures on the 159 embedded shapes, 36 minutes on two cores, and measure it:
#              docs/from_one_picture.md
# make setup   what each of the others does first: .venv from Python 3.11 and constraints.txt, 3 GB, five minutes or more
# make quick   the tests of the rooms that need no training, a minute
# make test    the tests        make check    linters, types, import direction        make clean    remove .venv
# make gpu-test    the tests that need a GPU, where there is one
# make cluster-test    trainings on a Slurm of two nodes that it sets up on this machine (packages: Debian, root or sudo)

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo clips mesh quick test gpu-test cluster-test check format clean

help:
	@sed -n 's/^# //p' Makefile

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not there: install Python 3.11, or say which: make PYTHON=... demo" >&2; exit 2; }
	@echo "setting up $(VENV): 3 GB, five minutes or more without a line"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[app,prepare,files,clip,demo,cloud,image,sweep,tensorboard,test]'
	@touch $@

setup: $(READY)

demo: $(READY)
	$(BIN)/python sample.py run=pretrained prompts=docs/demo_prompts.txt n=2 guidance=3 seed=0
	$(BIN)/python prepare.py embed=image_features shards=data/furniture_cc0
	$(BIN)/python train.py experiment=fine_tune
	$(BIN)/python sample.py prompts=docs/demo_prompts.txt n=2 guidance=3 seed=0

clips: $(READY)
	$(BIN)/python train.py experiment=clip_latent
	$(BIN)/python evaluate.py

mesh: $(READY)
	$(BIN)/python train.py experiment=image_to_mesh
	$(BIN)/python evaluate.py +domain.given_views=1

# One more than there are cores: many tests wait for processes that they start or kill.
WORKERS := $(shell cores=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((cores < 8 ? cores + 1 : 8)))
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
QUICK := $(addprefix tests/,test_house.py test_ranges.py test_terminal.py noise nn fields geometry autoencoder metrics rendering \
	conditioning storage preparation/readers diffusion/test_parameterization.py diffusion/test_guidance.py \
	diffusion/test_backbones.py diffusion/test_against_diffusers.py)

quick: $(READY)
	$(PYTEST) $(QUICK)

test: $(READY)
	$(PYTEST) --durations=20

gpu-test: $(READY)
	$(BIN)/python -m pytest tests/gpu --durations=12 -rs

cluster-test: $(READY)
	tests/cluster/install.sh
	$(BIN)/python -m pytest tests/cluster --durations=12

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)
