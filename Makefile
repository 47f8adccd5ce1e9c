# The one door for developers; .ci/run calls the same targets. `make help` lists them.
PYTHON ?= python3
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run server bench guide page generator guarantees instructions lost-updates test
.PHONY: test-all crash powerloss fuzz starts cancellations rolling lint fmt clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run:  ## build all, start an empty store and the demo shop in front of it (Ctrl-C ends both)
	@$(PYTHON) tools/run.py demo

server:  ## build and run the server alone; ARGS="--port 7000" passes arguments
	@$(PYTHON) tools/run.py server $(ARGS)

bench:  ## a minute or two: the shop workload on Sessile and what else is installed (build/bench/)
	@$(PYTHON) tools/bench.py bench $(ARGS)

guide:  ## a quarter of an hour: every workload and what Django and Flask pay, as a report (build/guide/)
	@$(PYTHON) tools/bench.py guide $(ARGS)

page:  ## docs/guide.md from another run: RUN=docs/measurements/DATE-guide (from build/guide/ if new)
	@$(PYTHON) tools/guide.py --run $(RUN)

generator:  ## a minute: one core of sessile-bench beside redis-benchmark on one redis-server
	@$(PYTHON) tools/setup_venv.py demo tests python > /dev/null
	cargo build --release --locked -q -p sessile-bench
	@.venv/bin/python tools/measure_generator.py --bench $${CARGO_TARGET_DIR:-target}/release/sessile-bench $(ARGS)

instructions:  ## instructions per command, counted by callgrind: an error if one takes 3 % more than before
	cargo build --release --locked -q -p sessile-server --features valgrind --target-dir target/valgrind
	@$(PYTHON) tools/measure_instructions.py --sessile target/valgrind/release/sessile \
		--against docs/measurements/instructions.json $(ARGS)

guarantees:  ## docs/guarantees.md anew: what each engine promises, and the tests that prove it
	@$(PYTHON) tools/setup_venv.py demo tests python > /dev/null
	@.venv/bin/python tools/guarantees.py $(ARGS)

UPDATES ?= 100000
lost-updates:  ## what overlapping requests lose and revive, ours and others: UPDATES=100000, SEED=N repeats what is sent
	@$(PYTHON) tools/setup_venv.py demo tests python > /dev/null
	cargo build --release --locked -q -p sessile-server
	@.venv/bin/python tools/lost_updates.py --updates $(UPDATES) $(if $(SEED),--seed $(SEED)) $(ARGS)

test:  ## every test: cargo, corpus, transcripts, hostile input, real clients, Django's own suites
	@$(PYTHON) tools/suites.py test

test-all:  ## the same, and what takes long: primaries that are lost, Django's suites on every engine, more Pythons, source archives that build
	@$(PYTHON) tools/suites.py test-all

crash:  ## kill a server that is written to, over and over: ROUNDS=200, SEED=N repeats a run
	@$(PYTHON) tools/suites.py crash

powerloss:  ## cut the power at thousands of moments: STATES=3000, SEED=N repeats a run
	@$(PYTHON) tools/suites.py powerloss

SECONDS ?= 60
fuzz:  ## fuzz every parser and the salvage, each target in turn: SECONDS=600, ARGS="rdb salvage" only these (build/fuzz/)
	@$(PYTHON) tools/fuzz.py --seconds $(SECONDS) $(ARGS)

cancellations:  ## cancels operations of the async engines anywhere: ROUNDS=10000, SEED=N repeats a run
	@ROUNDS=$${ROUNDS:-10000} $(PYTHON) tools/suites.py cancellations

rolling:  ## workers of old engines and of ours replaced in turn, there and back, under load: ROLL=40, SEED=N
	@ROLL=$${ROLL:-40} $(PYTHON) tools/suites.py rolling

starts:  ## 32 processes start `embedded:` at once: ROUNDS=200; a kill -9 under load: SESSIONS=100000
	@ROUNDS=$${ROUNDS:-200} SESSIONS=$${SESSIONS:-100000} $(PYTHON) tools/suites.py starts

lint:  ## rustfmt, clippy, ruff, mypy, and the house rules
	@$(PYTHON) tools/suites.py lint

fmt:  ## format Rust and Python
	cargo fmt --all && cargo fmt --manifest-path python/Cargo.toml
	@$(PYTHON) tools/setup_venv.py demo tests > /dev/null
	.venv/bin/ruff format -q . && .venv/bin/ruff check -q --fix .

clean:  ## remove what was built: target/, build/, .venv/
	rm -rf target build .venv
