# What a person or CI runs. Every target does its own set-up; a second run is quick.
#
#   make demo     two throw-away servers, a live load, kills, a comparison at the end
#   make test     every suite
#   make ci       what CI runs: format, lints, tests
#   make help     the rest

# Outside the checkout, so that a fresh clone finds RocksDB compiled. One profile, release, for everything: a second
# one would compile RocksDB a second time.
PGTRAIL_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pgtrail
CARGO_TARGET_DIR ?= $(PGTRAIL_CACHE)/target
export PGTRAIL_CACHE CARGO_TARGET_DIR

BIN := $(CARGO_TARGET_DIR)/release

CARGO := cargo

.DEFAULT_GOAL := help
.PHONY: help setup setup-test checkout rocksdb build build-tests demo fmt lint test test-unit test-roles test-faults \
	test-crash test-regress fuzz bench doc ci install clean-cache

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

setup: ## install what building and the demo need
	@dist/setup.sh build

setup-test:
	@dist/setup.sh test

# Cargo tells by a file's time whether to build it again, and a member of the workspace by its name: of two checkouts
# that share the target directory one would get what was built of the other. The one that comes builds its own anew.
checkout:
	@mkdir -p "$(CARGO_TARGET_DIR)"
	@if [ "$$(cat "$(CARGO_TARGET_DIR)/checkout" 2>/dev/null)" != "$(CURDIR)" ]; then \
		$(CARGO) clean --quiet --release --workspace; \
		printf '%s\n' "$(CURDIR)" >"$(CARGO_TARGET_DIR)/checkout"; \
	fi

# RocksDB is most of a first build; say so, and how long it took.
rocksdb: setup checkout
	@if ls "$(BIN)"/build/librocksdb-sys-*/out/librocksdb.a >/dev/null 2>&1; then :; else \
		echo "Building for the first time. RocksDB compiles from source, which takes about 17 minutes" >&2; \
		echo "on two cores; later builds find it in $(CARGO_TARGET_DIR)." >&2; \
		begin=$$(date +%s); \
		$(CARGO) build --release --locked -p pgtrail-log || exit 1; \
		end=$$(date +%s); \
		echo "RocksDB and what it needs took $$(( (end - begin) / 60 )) min $$(( (end - begin) % 60 )) s." >&2; \
	fi

build: rocksdb ## the pgtrail binary
	@$(CARGO) build --release --locked --bin pgtrail
	@echo "$(BIN)/pgtrail"

# Two binaries: the one that users get, and the same with failpoints for the suites that need them.
build-tests: setup-test rocksdb
	@$(CARGO) build --release --locked --bin pgtrail --features pgtrail-tools/failpoints
	@cp -f "$(BIN)/pgtrail" "$(BIN)/pgtrail-failpoints"
	@$(CARGO) build --release --locked --bin pgtrail

demo: build ## two throw-away servers, live load, kills, verified at the end
	@"$(BIN)/pgtrail" demo $(DEMO_ARGS)

fmt: ## format the code
	@$(CARGO) fmt --all

lint: rocksdb ## formatting and clippy, as CI wants them
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings

test: build-tests ## every suite
	@$(CARGO) test --release --locked --workspace

test-unit: rocksdb ## the tests inside the crates, no server needed
	@$(CARGO) test --release --locked --workspace --lib --bins

# Left out: TRUNCATE ... RESTART IDENTITY, which takes the table's owner.
test-roles: build-tests ## end to end as the roles that pgtrail grants prints, without superuser
	@PGTRAIL_TEST_ROLES=granted $(CARGO) test --release --locked -p pgtrail-tests --test replication -- \
		--skip w7_several_tables_with_foreign_keys

test-faults: build-tests ## broken connections, failed steps, damaged files
	@$(CARGO) test --release --locked -p pgtrail-tests --test faults --test damage

test-crash: build-tests ## kills at random moments; PGTRAIL_CRASH_SECS=N for longer
	@$(CARGO) test --release --locked -p pgtrail-tests --test crash -- --nocapture

test-regress: build-tests ## the schema of PostgreSQL's own regression database, copied
	@dist/setup.sh regress
	@$(CARGO) test --release --locked -p pgtrail-tests --test schema regression -- --ignored --nocapture

fuzz: rocksdb ## cargo-fuzz on the decoders; FUZZ_SECS=N each
	@cargo +nightly fuzz --version >/dev/null 2>&1 || { \
		echo "fuzz: needs a nightly toolchain and cargo-fuzz:" >&2; \
		echo "    rustup toolchain install nightly && cargo install cargo-fuzz" >&2; exit 1; }
	@cd tests/fuzz && for target in $$(cargo +nightly fuzz list); do \
		cargo +nightly fuzz run "$$target" -- -max_total_time=$${FUZZ_SECS:-60} || exit 1; done

bench: build ## against pg_recvlogical, native subscriptions, psql and pgcopydb, on the same data
	@dist/setup.sh bench
	@$(CARGO) run --release --locked -p pgtrail-benches -- $(BENCH)

doc: rocksdb ## the crates' documentation
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --workspace --no-deps

ci: lint test ## what CI runs

install: build ## the binary to PREFIX/bin (default /usr/local)
	@install -D -m 755 "$(BIN)/pgtrail" "$(DESTDIR)$(or $(PREFIX),/usr/local)/bin/pgtrail"

clean-cache: ## remove what builds and tests left outside the checkout
	rm -rf "$(PGTRAIL_CACHE)"
