# make demo   fine-tune the bundled model to a reader, score and try it on questions made here (5 minutes on 2 cores, after the installation)
# make test   the tests, on both backends
# make quick  a choice of them that notices a broken mask, loader or scorer (2 minutes)
# make lint   ruff and mypy
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
DEMO := runs/demo
DEMO_QUESTIONS := 2000

.PHONY: demo test quick lint clean

demo: $(VENV)/.installed
	$(RUN) data/make_reading_questions.py --count $(DEMO_QUESTIONS) --seed 1 --split train --output $(DEMO)/train.json.gz
	$(RUN) data/make_reading_questions.py --count 200 --seed 1 --split valid --output $(DEMO)/valid.json.gz
	$(RUN) data/make_reading_questions.py --count 500 --seed 1 --split test --output $(DEMO)/test.json.gz
	rm -rf $(DEMO)/reader
	$(VENV)/bin/nlptasks reading train --train $(DEMO)/train.json.gz --valid $(DEMO)/valid.json.gz \
		--method span --checkpoint mini --output $(DEMO)/reader --epochs 1 --valid-limit 100 \
		--batch-size 16 --learning-rate 3e-4 --warmup-share 0.1 --decay --clip-norm 1 --dropout 0 \
		--window-length 96 --width-multiple 32 --stride 48 --negative-ratio 0.35 \
		--question-length 32 --answer-length 16
	$(VENV)/bin/nlptasks reading evaluate --model $(DEMO)/reader --data $(DEMO)/test.json.gz \
		--baselines $(DEMO)/train.json.gz
	$(VENV)/bin/nlptasks reading predict --model $(DEMO)/reader --data data/reading_sample_test.json \
		--output $(DEMO)/answers.tsv --show 5 --seed 1
	@echo; echo "It has read 2,000 generated questions about invented people, and answers such questions; of the world it knows nothing."
	@echo; echo "Ask it something of your own:"
	@echo "  $(VENV)/bin/nlptasks reading answer --model $(DEMO)/reader --question 问题 --passage 篇章一 篇章二"

# Pretraining and meshes run on JAX alone, and are skipped where it is not the backend; what makes their data needs none.
# Of the rest JAX runs what a backend can change.
PRETRAINING := $(addprefix tests/pretraining/test_, $(addsuffix .py, checkpoints commands loader pretrain step topology))
BENCHMARKS := $(addprefix tests/benchmarks/test_, compress_mlm.py gpu.py)
# A worker that dies ends the run and names its test; replaced, it could leave the others waiting for ever.
PYTEST := $(RUN) -m pytest -n 2 --max-worker-restart 0
ON_JAX := $(PRETRAINING) $(BENCHMARKS) tests/test_old_runs.py tests/backend tests/core tests/checkpoints tests/generate tests/generative tests/applications tests/train

test: $(VENV)/.installed-test
	KERAS_BACKEND=tensorflow $(PYTEST) --dist loadfile -m "not on_jax"
	KERAS_BACKEND=jax $(PYTEST) --dist loadfile -m "not once" $(ON_JAX)

quick: $(VENV)/.installed-test
	KERAS_BACKEND=tensorflow $(PYTEST) --dist worksteal @tests/quick.txt
	KERAS_BACKEND=jax $(PYTEST) --dist worksteal @tests/quick_jax.txt

lint: $(VENV)/.installed-test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

$(VENV)/.installed: pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --editable ".[tensorflow,index]"
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(RUN) -m pip install --quiet --editable ".[test]"
	-$(RUN) -m pip install --quiet --no-deps --target $(VENV)/tpu libtpu # apart: JAX would look for a TPU
	touch $@

clean:
	rm -rf $(VENV) runs build *.egg-info .pytest_cache
