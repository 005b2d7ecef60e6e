# The one place where commands are defined. `make` alone prints what there is.
# `make demo` and `make test` work from a fresh clone: they check the machine, make .venv, build and run.

.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV ?= .venv
PY := $(VENV)/bin/python
PYTHON ?= $(shell tools/find_python.sh)
SEEDS ?= 1000000
STORE ?= memory
KILLS ?= 200
JOBS ?= 1000000
ROUNDS ?= 1000000
PROCESSES ?= 4
# Nearly as fast as a release, built in a fraction of the time; `make wheel` takes the real one.
PROFILE ?= dev-release
# Where cargo puts what it built so.
BUILDS = $(CARGO_TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

# rustup's folder, for shells that did not read its profile yet.
export PATH := $(PATH):$(HOME)/.cargo/bin
# Compiled crates are kept per Cargo.lock and compiler, outside the clone, so that the next clone need not build them.
ifeq ($(CARGO_TARGET_DIR),)
CARGO_TARGET_DIR := $(shell tools/target_dir.sh)
endif
export CARGO_TARGET_DIR
# One interpreter for every build of the bindings: another one would build PyO3 again.
export PYO3_PYTHON := $(PYTHON)

TURN = $(PY) tools/turn.py
CARGO = $(TURN) cargo
# Always together: what is built for one of them is then built for all.
TESTED = --package zjobs-engine --package zjobs-vfs --package zjobs-powerloss --package zjobs-fuzz
# Most tests wait for something: four processes, each with a server of its own, take a third of the time on two cores.
PYTEST = $(PY) -m pytest --numprocesses $(PROCESSES) --dist worksteal
MODELS = $(CARGO) run --locked --quiet --profile test --manifest-path rust/models/Cargo.toml
# It has pip install what the package needs, which says a hundred lines.
MATURIN = PIP_QUIET=1 VIRTUAL_ENV="$(abspath $(VENV))" $(TURN) $(VENV)/bin/maturin
DEPS := $(VENV)/.deps-installed
BUILT := $(VENV)/.engine-built
RUST_SOURCES := $(shell find rust -name '*.rs' -o -name '*.sql' -o -name Cargo.toml) Cargo.toml Cargo.lock

# The deep runs; each has a short form in `make test`.
.PHONY: bugs corrupt-sqlite crash-points crash-postgres crash-sqlite cuts disks evidence exits fuzz held-snapshot many-scheduled mutants mutants-postgres mutants-runtime powerloss promotions recovery repeat soak unique-race walks zombies
.PHONY: models models-short break-models
.PHONY: help setup dev fmt lint test test-rust test-python sim sim-short bench bench-sqlite bench-postgres instructions docs wheel verify ci demo clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-16s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEPS) ## check the machine, make .venv, install what building and testing need

dev: $(BUILT) ## build the engine into .venv; quick when nothing changed

demo: $(BUILT) ## do real work and watch it: hash, parse, compress, fail, retry, schedule
	$(VENV)/bin/zjobs demo $(ARGS)

test: test-rust test-python sim-short models-short ## everything that must pass

test-rust: $(DEPS) ## the engine's tests
	$(PY) tests/postgres_server.py $(CARGO) test --locked --quiet $(TESTED)

test-python: $(BUILT) ## the tests through Python; ARGS="-k name" chooses; PROCESSES=0 runs them in one, for a debugger
	$(PYTEST) $(ARGS)

sim: $(DEPS) ## simulate faults: SEEDS=1000000 runs many, SEED=42 replays one; STORE=memory, sqlite or both
	$(CARGO) build --locked --quiet --profile $(PROFILE) $(TESTED) --example sim
	"$(BUILDS)/examples/sim" --store $(STORE) $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

bugs: $(DEPS) ## hunt every deliberate bug of the simulator: STORE=memory, sqlite or both
	$(CARGO) build --locked --quiet --profile $(PROFILE) $(TESTED) --example sim
	"$(BUILDS)/examples/sim" --store $(STORE) --bugs

walks: $(BUILT) ## random walks beside a model and beside each other, on every store: WALKS=50000 SEED=1
	walks=$(or $(WALKS),50000); for part in $$(seq 0 2000 $$((walks - 1))); do \
	  left=$$((walks - part)); \
	  ZJOBS_WALKS=$$((left < 2000 ? left : 2000)) $(PYTEST) -q -o timeout=0 -o faulthandler_timeout=0 \
	    --hypothesis-seed=$$(($(or $(SEED),1) + part)) tests/test_stateful.py || exit 1; \
	done
	@echo "proved: $(or $(WALKS),50000) walks of up to 60 steps in memory, a tenth as many on a file and a twenty-fifth on a server, half of them beside memory, no difference"

repeat: $(BUILT) ## the suite again and again, with hasty thread switches: RUNS=100
	for run in $$(seq $(or $(RUNS),100)); do \
	  echo "run $$run of $(or $(RUNS),100)"; \
	  $(PYTEST) -q -p no:cacheprovider --switch-interval 1e-6 || exit 1; \
	done
	@echo "proved: the suite passed $(or $(RUNS),100) times in a row, with thread switches each microsecond"

RINGS := $(addprefix rust/src/,state.rs outcome.rs backoff.rs unique.rs limits.rs limits/quick.rs job.rs queue/finished.rs queue/jobs.rs \
  queue/delayed.rs queue/leases.rs queue/names.rs queue/ready.rs)

DECISIONS := $(addprefix rust/src/store/,pages.rs $(addprefix memory/,ack.rs by_hand.rs claim.rs enqueue.rs nodes.rs) \
  $(addprefix sqlite/,ack.rs claim.rs enqueue.rs nodes.rs))

ROLES := $(filter-out $(addprefix rust/src/runtime/,mod.rs fixture.rs sabotage.rs),$(wildcard rust/src/runtime/*.rs))

ON_A_SERVER := $(addprefix rust/src/store/postgres/,ack.rs by_hand.rs claim.rs enqueue.rs marks.rs nodes.rs pace.rs roll.rs)

mutants: $(DEPS) ## change the engine in every small way and see a test fail each time: FILES="rust/src/state.rs ..."
	@command -v cargo-mutants >/dev/null || cargo install --locked cargo-mutants
	nice $(PY) tools/mutants.py $(or $(FILES),$(RINGS) $(DECISIONS))

mutants-runtime: $(DEPS) ## the same for slots and roles, judged by the simulator, too: FILES=
	@command -v cargo-mutants >/dev/null || cargo install --locked cargo-mutants
	nice $(PY) tools/mutants.py $(or $(FILES),$(ROLES))

mutants-postgres: $(DEPS) ## the same for what the store in PostgreSQL decides, judged on a server: FILES=
	@command -v cargo-mutants >/dev/null || cargo install --locked cargo-mutants
	nice $(PY) tests/postgres_server.py $(PY) tools/mutants.py $(or $(FILES),$(ON_A_SERVER))

evidence: $(BUILT) ## run the proofs and write docs/evidence.md: DEPTH=short, session or full; ARGS="--only NAME --set WALKS=9", or --page
	$(PY) tools/evidence.py --depth $(or $(DEPTH),short) $(ARGS)

sim-short: ## the simulator's short form, as the tests are built, which check more: 100 000 seeds in memory, 300 on a file
	@$(MAKE) --no-print-directory sim PROFILE=dev STORE=memory SEED= SEEDS=100000
	@$(MAKE) --no-print-directory sim PROFILE=dev STORE=sqlite SEED= SEEDS=300

models: $(DEPS) ## all schedules of the concurrent pieces, and very many of whole engines: PREEMPTIONS=5 ROUNDS=1000000 SEED=1
	$(MODELS) --features loom --bin loom-models -- --preemptions $(or $(PREEMPTIONS),5)
	SHUTTLE_SILENCE_WARNINGS=1 $(MODELS) --features shuttle --bin shuttle-models -- --random $(ROUNDS) --pct $$(($(ROUNDS) / 5)) --seed $(or $(SEED),1)

break-models: $(DEPS) ## break the engine once for each model, which must fail: ARGS="--only stop"
	$(TURN) $(PY) tools/break_models.py "$(CARGO_TARGET_DIR)" $(ARGS)

models-short: ## their short form: at most 3 preemptions, 10 000 rounds
	@$(MAKE) --no-print-directory models PREEMPTIONS=3 ROUNDS=10000 SEED=1

crash-sqlite: $(BUILT) ## kill -9 workers and producer on one SQLite file, and account for every job; KILLS= JOBS= SEED=
	cd tests && $(abspath $(PY)) -m crash --kills $(KILLS) --jobs $(JOBS) --seed $(or $(SEED),1) --result ../crash-sqlite.json

crash-postgres: $(BUILT) ## the same on PostgreSQL, which is killed too, and with workers stopped beyond their lease; STOPS= SERVERS=
	cd tests && $(abspath $(PY)) -m crash --store postgres --kills $(KILLS) --stops $(or $(STOPS),50) --servers $(or $(SERVERS),100) \
	  --jobs $(JOBS) --seed $(or $(SEED),1) --result ../crash-postgres.json

soak: $(BUILT) ## hours at half of peak rate with a fault each minute, judged and drawn: HOURS=2 STORE=sqlite|postgres|memory RATE=
	cd tests && $(abspath $(PY)) -m soak --store $(STORE) --hours $(or $(HOURS),2) --fault-every $(or $(FAULT_EVERY),60) \
	  $(if $(RATE),--rate $(RATE)) --seed $(or $(SEED),1) --result ../soak-$(STORE).json --picture ../soak-$(STORE).png

crash-points: $(BUILT) ## die, freeze and panic at every named place in the engine, on both stores; ROUNDS=, STORE=sqlite or postgres
	cd tests && $(abspath $(PY)) -m crash.points --stores $(or $(filter sqlite postgres,$(STORE)),sqlite postgres) \
	  --rounds $(or $(ROUNDS),1) --result ../crash-points.json

zombies: $(BUILT) ## stop workers beyond their lease of one second, and see that nothing of theirs is accepted: ROUNDS=1000
	cd tests && $(abspath $(PY)) -m crash.zombies --rounds $(or $(ROUNDS),1000) --result ../crash-zombies.json

recovery: $(BUILT) ## how long until work goes on after a death, a stop, a cut, a restart: TIMES=100, ONLY="killed-sqlite server ..."
	cd tests && $(abspath $(PY)) -m recovery --times $(or $(TIMES),100) $(if $(ONLY),--only $(ONLY)) --seed $(or $(SEED),1) \
	  --result ../recovery.json

cuts: $(BUILT) ## cut connections to PostgreSQL while jobs come and run, and account for every job: CUTS= SEED=
	cd tests && $(abspath $(PY)) -m outages.cuts --cuts $(or $(CUTS),500) --seed $(or $(SEED),1)

promotions: $(BUILT) ## kill the leader and promote the follower while jobs come and run: TIMES=100 SEED=
	cd tests && $(abspath $(PY)) -m outages.promotions --times $(or $(TIMES),100) --seed $(or $(SEED),1)

disks: $(BUILT) ## disks that are full, read-only or fail, at each call of SQLite and under whole engines: ROUNDS=200 of each
	ZJOBS_ROUNDS=$(or $(ROUNDS),200) $(CARGO) test --locked --quiet --package zjobs-powerloss --test faults -- --show-output
	cd tests && $(abspath $(PY)) -m outages.disks --rounds $(or $(ROUNDS),200) --seed $(or $(SEED),1)

held-snapshot: $(BUILT) ## how soon jobs start while a forgotten transaction keeps PostgreSQL from clearing up: MINUTES=60 RATE=1000
	cd tests && $(abspath $(PY)) -m held_snapshot --minutes $(or $(MINUTES),60) $(if $(RATE),--rate $(RATE))

unique-race: $(BUILT) ## sixteen clients enqueue the same unique keys at the same moments: ROUNDS=10000 of each policy
	cd tests && $(abspath $(PY)) -m unique_race --rounds $(or $(ROUNDS),10000)

many-scheduled: $(BUILT) ## claims beside jobs that wait for tomorrow, and what staging a tenth of them takes: JOBS=10000000
	cd tests && $(abspath $(PY)) -m many_scheduled --jobs $(or $(JOBS),10000000)

.PHONY: sanitize sanitize-threads miri
sanitize: $(DEPS) ## the engine's tests under AddressSanitizer and LeakSanitizer, on a nightly toolchain; ARGS="name" chooses
	$(PY) tests/postgres_server.py $(PY) tools/sanitize.py address $(ARGS)

sanitize-threads: $(DEPS) ## the same under ThreadSanitizer
	$(PY) tests/postgres_server.py $(PY) tools/sanitize.py thread $(ARGS)

miri: $(DEPS) ## the engine's pure modules in Miri
	$(PY) tools/sanitize.py miri $(ARGS)

powerloss: $(DEPS) ## cut the power after every write of 2 000 sessions with a SQLite file: SESSIONS=, or SEED= for one
	$(if $(SEED),ZJOBS_SEED=$(SEED),ZJOBS_SESSIONS=$(or $(SESSIONS),2000)) $(CARGO) test --locked --quiet --package zjobs-powerloss --test powerloss -- --show-output

fuzz: $(BUILT) ## fuzz each target of rust/fuzz and tests/fuzz, one after the other: SECONDS=600 for each, EXECUTIONS= of each, TARGET= for one
	$(PY) tools/fuzz.py --seconds $(or $(SECONDS),600) $(if $(EXECUTIONS),--executions $(EXECUTIONS)) $(if $(TARGET),--target $(TARGET))

exits: $(BUILT) ## end 1 000 interpreters at random moments: EXITS=, SEED= of the first; another Python: VENV=.venv-3.13 PYTHON=python3.13
	cd tests && $(abspath $(PY)) -m exits --exits $(or $(EXITS),1000) --seed $(or $(SEED),1) --postgres

corrupt-sqlite: $(BUILT) ## open 10 000 damaged files, and as many with damaged logs: COUNT=
	cd tests && $(abspath $(PY)) -m damaged --count $(or $(COUNT),10000)

.PHONY: coverage
coverage: $(DEPS) ## which lines of the engine the tests of both languages run; what none runs is listed in coverage.txt
	@command -v cargo-llvm-cov >/dev/null || cargo install --locked cargo-llvm-cov
	$(PY) tools/covered.py "$(CARGO_TARGET_DIR)" $(RINGS) $(ARGS)

.PHONY: cron-oracle
cron-oracle: $(BUILT) ## each change of each zone's offset meets 200 cron expressions: EXPRESSIONS= ZONES= RANDOM= SEED= choose
	cd tests && PYTHONTZPATH= $(abspath $(PY)) -m cron_oracle $(if $(EXPRESSIONS),--expressions $(EXPRESSIONS)) \
	  $(if $(ZONES),--zones $(ZONES)) $(if $(RANDOM),--random $(RANDOM)) $(if $(SEED),--seed $(SEED))

.PHONY: audit
audit: $(BUILT) ## crates, packages, SQLite, actions, and the newest wheel's bill of materials; STRICT=1: all of it must run
	@command -v cargo-deny >/dev/null || cargo install cargo-deny --locked
	$(PY) tools/audit.py $(if $(STRICT),--strict) $$(ls -t dist/*.whl 2>/dev/null | head -n 1)

.PHONY: mutants-python
mutants-python: $(BUILT) ## make small faults in the Python modules, which their tests must notice: MODULES=retry,cron
	cd tests && PYTHONPATH=../python $(abspath $(PY)) -m mutants $(if $(MODULES),--modules $(MODULES))

lint: $(BUILT) ## formatting, lints and types, in Rust and in Python
	cargo fmt --all --check
	cargo fmt --manifest-path rust/models/Cargo.toml --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(PY) tools/check_paths.py
	$(CARGO) clippy --locked --quiet --workspace --all-targets --features zjobs-bindings/failpoints -- -D warnings
	$(CARGO) clippy --locked --quiet --package zjobs-bindings -- -D warnings # as shipped, without the simulator
	$(CARGO) clippy --locked --quiet --manifest-path rust/models/Cargo.toml --features loom -- -D warnings
	$(CARGO) clippy --locked --quiet --manifest-path rust/models/Cargo.toml --features shuttle -- -D warnings
	$(PY) -m pyright --pythonpath $(PY)
	$(PY) -m mypy.stubtest --mypy-config-file pyproject.toml zjobs._engine

fmt: $(DEPS) ## format everything, and fix what can be fixed
	cargo fmt --all
	cargo fmt --manifest-path rust/models/Cargo.toml
	$(VENV)/bin/ruff check --fix --exit-zero
	$(VENV)/bin/ruff format

bench: $(BUILT) instructions ## measure: instructions of the hot paths, criterion's times, and against the standard library
	$(CARGO) bench --locked --package zjobs-benches
	$(PY) benches/in_process.py $(ARGS)

bench-sqlite: $(BUILT) ## the store in a SQLite file beside raw SQLite; ARGS="bulk --folder ." chooses
	$(PY) benches/sqlite.py $(ARGS)

bench-postgres: $(BUILT) ## the store in PostgreSQL beside the raw server; ARGS="drain scale" chooses
	$(PY) benches/postgres.py $(ARGS)

instructions: $(DEPS) ## count the instructions of the hot paths against benches/instructions.json; ARGS=--record writes it
	$(CARGO) build --locked --quiet --release --package zjobs-benches --bin hot-paths
	$(PY) tools/instructions.py "$(CARGO_TARGET_DIR)/release/hot-paths" $(filter --record,$(ARGS))

docs: $(BUILT) ## the page of the state table, and the engine's reference with every link checked
	$(PY) tools/state_machine.py
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items --package zjobs-engine

wheel: $(DEPS) ## a release wheel in dist/
	$(MATURIN) build --release --locked --out dist
	$(PY) tools/check_wheel.py dist/*.whl
	$(PY) tools/check_sbom.py "$$(ls -t dist/*.whl | head -n 1)"

verify: test ## the long proofs, as deep as the bars of docs/evidence.md ask; takes days
	@$(MAKE) --no-print-directory evidence DEPTH=full

ci: ## what has to pass before a merge
	.ci/run

clean: ## remove what was built here, and shared caches that nobody used for two weeks
	rm -rf $(VENV) dist target .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage .coverage.* htmlcov
	rm -f python/zjobs/_engine*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	tools/target_dir.sh --prune

$(DEPS): pyproject.toml
	@tools/doctor.sh "$(PYTHON)"
	"$(PYTHON)" -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(PY) -m pip install --quiet --disable-pip-version-check --group dev
	@# A Python before 3.12 brings an old one, which has known weaknesses and is needed by nothing here.
	@$(PY) -m pip uninstall --quiet --quiet --yes setuptools
	@touch $@

$(BUILT): $(DEPS) $(RUST_SOURCES)
	$(MATURIN) develop --locked --profile $(PROFILE) --features failpoints
	@touch $@
