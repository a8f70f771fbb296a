# make demo: learn a concept and render it.   make test: run the tests.   Both install what they need into .venv.
PYTHON ?= python3
BIN := .venv/bin
CONCEPT ?= green_apple
INIT_WORD ?= fruit

.PHONY: demo test lint clean

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# Any folder of pictures in dataset/ will do: make demo CONCEPT=bagel INIT_WORD=bread
demo: .venv/installed
	rm -rf logs/demo
	$(BIN)/python train_new.py --base configs/emoji/finetune.yaml -t --actual_resume models/ldm/emoji/model.ckpt \
	    --name $(CONCEPT) --project demo --datadir_in_name false --data_root dataset/$(CONCEPT) --init_word "$(INIT_WORD)"
	$(BIN)/python -m check.check_learned logs/demo/*_$(CONCEPT)/checkpoints/embeddings.pt \
	    --data_root dataset/$(CONCEPT) --out outputs/demo/$(CONCEPT).png
	@echo "Look at outputs/demo/$(CONCEPT).png"

test: .venv/installed
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .

clean:
	rm -rf .venv
