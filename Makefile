# make web: the page.   make demo: learn a concept and render it.   make test: run the tests.
# All install what they need into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: web demo test test-fast test-full lint floors bench faults pretrain clean

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# Flags of the page: make web WEB="--port 8000 --logdir logs"
web: .venv/installed
	$(BIN)/python -m webui --open $(WEB)

# Any folder of pictures will do: make demo CONCEPT=bagel INIT_WORD=bread, or make demo DATA="my pictures" INIT_WORD=cat
CONCEPT ?= green_apple
DATA ?= dataset/$(CONCEPT)
INIT_WORD ?= $(if $(filter dataset/green_apple,$(DATA)),fruit,thing)
demo: .venv/installed
	$(BIN)/python train_new.py --base configs/emoji/finetune.yaml -t --actual_resume models/ldm/emoji/model.ckpt \
	    --name "$$(basename "$(DATA)")" --project demo --datadir_in_name false --data_root "$(DATA)" \
	    --init_word "$(INIT_WORD)"
	run="$$(ls -td logs/demo/*/ | head -n 1)" && sheet="outputs/demo/$$(basename "$$run").png" && \
	$(BIN)/python -m check.check_learned "$${run}checkpoints/embeddings.pt" --data_root "$(DATA)" --out "$$sheet" && \
	echo "Look at $$sheet"

# Two processes of one thread each: together they take less time than one of two threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2
test: .venv/installed
	$(PYTEST)

test-fast: .venv/installed
	$(PYTEST) -m "not slow"

# Models at full size, with random weights: some minutes and 12 GB.
test-full: .venv/installed
	$(BIN)/python -m pytest -m full -s

lint: .venv/installed floors
	$(BIN)/ruff check .
	$(BIN)/mypy .

# Every import points down (pyproject.toml, tool.importlinter). import-linter knows packages only, so it is shown a tree
# in which each script is one.
floors: .venv/installed
	rm -rf .floors && mkdir .floors
	for script in *.py; do \
	    mkdir ".floors/$${script%.py}" && ln -s "../../$$script" ".floors/$${script%.py}/__init__.py"; done
	for package in */__init__.py; do ln -s "../$${package%/*}" .floors/; done
	cd .floors && ../$(BIN)/lint-imports --no-cache --no-logo ../pyproject.toml

# Beside diffusers, on a small model with random weights: some minutes. benchmarks/README.md has those at full size.
bench: .venv/installed
	$(BIN)/python -m benchmarks.speed

# Runs killed at every write and resumed at every step, hostile pickles, damaged files, odd pictures and prompts.
faults: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.faults

# The present weights trained on, on the wide world; START= begins with nothing, and with the autoencoder
# (pretrain/README.md). A sitting that MINUTES ends goes on with the same command.
#   make pretrain MINUTES=100
#   make pretrain TRAIN="--compile --workers 14" \
#       LDM="--pictures 6000000 --batch_size 512" CLIP="--pictures 4000000 --batch_size 768"
RUNS ?= pretrain/runs/wide
START ?= models/ldm/emoji/model.ckpt
AUTOENCODER ?= --pictures 200000
LDM ?= --pictures 2400000 --batch_size 128
CLIP ?= --pictures 700000
STAGE = $(BIN)/python -m pretrain.$@ --run $(RUNS)/$@ --world wide --archive $(RUNS)/world.zip \
    $(TRAIN) $(if $(MINUTES),--minutes $(MINUTES))
pretrain: ldm clip

.PHONY: autoencoder ldm clip
$(RUNS)/world.zip: pretrain/things.tsv
	$(BIN)/python -m pip install --quiet --editable '.[pretrain]'
	$(BIN)/python -m pretrain.icons --out $@
$(RUNS)/tokenizer/vocab.txt: pretrain/things.tsv
	$(BIN)/python -m pretrain.tokenizer --world wide $(if $(START),--extend $(dir $(START))tokenizer) --out $(@D)
autoencoder: .venv/installed $(RUNS)/world.zip
	$(STAGE) $(AUTOENCODER)
ldm: .venv/installed $(RUNS)/world.zip $(RUNS)/tokenizer/vocab.txt $(if $(START),,autoencoder)
	$(STAGE) --tokenizer $(RUNS)/tokenizer \
	    $(if $(START),--start $(START),--autoencoder $(RUNS)/autoencoder) $(LDM)
clip: ldm
	$(STAGE) --size 128 --tokenizer $(RUNS)/tokenizer --out $(RUNS)/judge $(CLIP)

clean:
	rm -rf .venv .floors
