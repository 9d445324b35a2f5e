# The front door. `make run` on a fresh machine says what it lacks and gets it, builds, fetches the
# default model and serves; `make help` lists the rest. Meson and Ninja do the building.

MODEL   := models/SmolLM2-135M-Instruct.Q4_1.gguf
PROGRAM := build/release/pensieve
ARGS    ?=
SECONDS_EACH ?= 60

# Meson asks once: a build folder is set up when it isn't there, and then keeps itself up to date.
MESON   := meson setup

.DEFAULT_GOAL := help
.PHONY: help setup setup-test run model release test check docs asan tsan fuzz bench bench-serve bench-speculate bench-load bench-restore bench-mlx bench-accuracy bench-structured bench-tools bench-proxy models fmt clean FORCE

help:
	@echo 'make run      get what is lacking, build, fetch the default model, serve (ARGS="--port 8080")'
	@echo 'make setup    only get what is lacking'
	@echo 'make model    only fetch the default model'
	@echo 'make release  only build $(PROGRAM)'
	@echo 'make test     everything: units under sanitizers, kernels, real clients, short fuzzing'
	@echo 'make check    the quick part of it, for before a commit'
	@echo 'make asan     unit tests under AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make tsan     queue, pool, engine and server tests under ThreadSanitizer'
	@echo 'make fuzz     every fuzz target for SECONDS_EACH=$(SECONDS_EACH) seconds'
	@echo 'make bench    alternating rounds against llama.cpp (builds it first) and the machine; ARGS=--full'
	@echo 'make bench-mlx   the same against mlx-lm (gets it first)'
	@echo 'make bench-serve alternating rounds against llama-server (builds it first): what clients wait for'
	@echo 'make bench-accuracy  how far from float32 ours and llama.cpp are: real text, many random ones'
	@echo 'make bench-speculate  decode speed with speculation and without, and that the text is the same'
	@echo 'make bench-structured  200 generated schemas: is every answer valid, by jsonschema'
	@echo 'make bench-proxy  200 streams through Pensieve and through LiteLLM (gets it first): what a token costs'
	@echo 'make bench-tools  200 sampled tool calls: is every one valid; is the right tool chosen, ours beside llama-server'
	@echo 'make bench-restore  how soon 14,000 tokens of keys and values are back from disk'
	@echo 'make bench-load  how soon a 2.1 GB MLX folder of random weights is ready (makes it first)'
	@echo 'make models   table: every kind of model in every container against its reference'
	@echo 'make docs     option tables out of the program'
	@echo 'make fmt      clang-format'
	@echo 'make clean    remove what was built (not what was fetched)'

# ---- what the machine must have ----

.deps/system-%: deps/packages deps/system
	@deps/system $(subst +, ,$*)
	@mkdir -p .deps && touch $@

.deps/sources: deps/lock deps/fetch | .deps/system-run
	@deps/fetch source
	@touch $@

$(MODEL): | .deps/system-run
	@deps/fetch model

setup: .deps/system-run .deps/sources
setup-test: setup .deps/system-run+test+fuzz
model: $(MODEL)

# ---- building ----

build/release/build.ninja: | .deps/sources
	@$(MESON) build/release --buildtype=release -Dtests=false

build/asan/build.ninja: | .deps/sources .deps/system-run+test+fuzz
	@$(MESON) build/asan -Db_sanitize=address,undefined -Db_lundef=false

build/tsan/build.ninja: | .deps/sources .deps/system-run+test+fuzz
	@$(MESON) build/tsan -Db_sanitize=thread -Db_lundef=false

build/fuzz/build.ninja: | .deps/sources .deps/system-run+test+fuzz
	@CC=clang $(MESON) build/fuzz -Dtests=false -Dfuzzers=true -Db_sanitize=address,undefined \
	    -Db_lundef=false -Dc_args=-fsanitize=fuzzer-no-link

release: $(PROGRAM)
$(PROGRAM): .deps/sources build/release/build.ninja FORCE
	@ninja -C build/release -n | grep -q 'no work to do' || ninja -C build/release
	@ln -sf src/app/pensieve $@

run: $(PROGRAM) $(MODEL)
	@exec $(PROGRAM) serve $(ARGS)

# ---- testing ----

BUILDS := build/asan/build.ninja build/tsan/build.ninja build/fuzz/build.ninja build/bench/build.ninja

test: setup-test $(MODEL) build/release/build.ninja $(BUILDS)
	@tests/run layers asan tsan release kernels clients fuzz

check: setup-test $(MODEL) build/asan/build.ninja
	@tests/run layers asan

asan: setup-test $(MODEL) build/asan/build.ninja
	@tests/run asan

tsan: setup-test $(MODEL) build/tsan/build.ninja
	@tests/run tsan

fuzz: build/fuzz/build.ninja
	@ninja -C build/fuzz
	@fuzz/run $(SECONDS_EACH)

# ---- the rest ----

BENCH := --program $(PROGRAM) --check build/bench/tests/kernels/check_kernels

bench: $(PROGRAM) $(MODEL) .deps/system-run+bench build/bench/build.ninja
	@bench/setup
	@ninja -C build/bench tests/kernels/check_kernels | tail -n 1
	@.venv-bench/bin/python bench/bench.py $(BENCH) $(ARGS)

bench-speculate: $(PROGRAM) $(MODEL)
	@python3 bench/speculate.py $(PROGRAM) $(MODEL) $(ARGS)

bench-restore: build/bench/build.ninja
	@ninja -C build/bench tests/engine/restore | tail -n 1
	@folder=$$(mktemp -d) && build/bench/tests/engine/restore $$folder $(ARGS); rm -rf $$folder

bench-mlx: $(PROGRAM) $(MODEL) build/bench/build.ninja
	@bench/setup mlx
	@ninja -C build/bench tests/golden.stamp | tail -n 1
	@.venv-mlx/bin/python bench/mlxlm.py --program $(PROGRAM) --model build/golden-smollm2 $(ARGS)

bench-serve: $(PROGRAM) $(MODEL) .deps/system-run+bench
	@bench/setup-server
	@python3 bench/serve.py --program $(PROGRAM) --model $(MODEL) \
	    --llama build/llama-server/llama-server $(ARGS)

# llama.cpp stands beside ours in the table where `make bench` has built it.
build/bench/build.ninja: | .deps/sources .deps/system-run+test
	@$(MESON) build/bench --buildtype=release

models: setup-test build/bench/build.ninja
	@ninja -C build/bench tests/golden.stamp tests/engine/logits
	@if [ -f .venv-bench/.done ]; then python=.venv-bench; else python=.venv-golden; fi; \
	    $$python/bin/python bench/models.py build/bench/tests/engine/logits $(ARGS)

bench-accuracy: $(MODEL) build/bench/build.ninja
	@bench/setup
	@ninja -C build/bench tests/golden.stamp tests/engine/logits | tail -n 1
	@.venv-bench/bin/python bench/kl.py build/bench/tests/engine/logits $(MODEL) --also build/golden-smollm2
	@.venv-bench/bin/python bench/accuracy.py build/bench/tests/engine/logits $(ARGS)

bench-proxy: $(PROGRAM) build/bench/build.ninja
	@bench/setup proxy
	@ninja -C build/bench tests/server/streams | tail -n 1
	@python3 bench/proxy.py --program $(PROGRAM) --streams-program build/bench/tests/server/streams --litellm .venv-proxy/bin/litellm $(ARGS)

bench-structured: $(PROGRAM) $(MODEL)
	@bench/setup schema
	@.venv-schema/bin/python bench/structured.py --program $(PROGRAM) --model $(MODEL) --out build/structured.jsonl $(ARGS)

bench-tools: $(PROGRAM) $(MODEL) .deps/system-run+bench
	@bench/setup schema
	@bench/setup-server
	@.venv-schema/bin/python bench/tools.py --program $(PROGRAM) --model $(MODEL) --llama build/llama-server/llama-server $(ARGS)

bench-load: $(PROGRAM) build/bench/build.ninja
	@ninja -C build/bench tests/golden.stamp | tail -n 1
	@python3 bench/load.py $(PROGRAM) $$(.venv-golden/bin/python bench/make_models.py phi3-mini mlx-4bit-g64)

docs: $(PROGRAM)
	@$(PROGRAM) options --format markdown > docs/options.md
	@$(PROGRAM) options --format man > docs/pensieve.1

fmt: .deps/system-run+fmt
	@clang-format -i $$(git ls-files 'src/*.[ch]' 'include/*.h' 'tests/*.[ch]' 'fuzz/*.[ch]')

clean:
	@rm -rf build
