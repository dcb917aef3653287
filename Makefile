# The commands of the README. Everything they need beyond Rust, a C compiler, perl and make they build themselves;
# the tests start a Kafka broker with Java and Maven, unless KAFKA_BOOTSTRAP names one,
# and a Redis server of this machine or its distribution's packages, unless REDIS_URL names one,
# and a Prometheus, of this machine or its distribution's packages too,
# and a Chromium, of the distribution's packages too, unless CHROMIUM names one.
.PHONY: demo stack test check bench bench-peers fmt install

CARGO ?= cargo
PYTHON ?= python3

## demo: the fraud query on a made-up stream, in this terminal
demo:
	$(CARGO) run --quiet --package tidemill -- demo

## stack: what compose.yaml starts (Grafana apart) without containers: Kafka, a producer, the fraud query, Prometheus
stack:
	$(CARGO) build --quiet --workspace --bins
	scripts/stack $(STACK)

## test: every test there is
test:
	$(CARGO) test --workspace

## check: format, lints, documentation, licences
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --quiet
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --offline check licenses bans sources; else echo "cargo-deny is not installed: licences were not checked"; fi

## bench: the jobs of benches/README.md, as a table and in target/bench.json
bench:
	$(CARGO) bench --bench jobs

## bench-peers: the jobs beside wc, DuckDB, arrow-json and a client in asyncio, in alternation, with ratios
bench-peers:
	test -x target/bench-peers/bin/python || $(PYTHON) -m venv target/bench-peers
	target/bench-peers/bin/python -m pip install --quiet duckdb aiohttp
	PEERS_PYTHON=$(CURDIR)/target/bench-peers/bin/python $(CARGO) bench --bench jobs -- --peers

## install: the optimised binaries, into cargo's bin folder
install:
	$(CARGO) install --path . --locked
	$(CARGO) install --path producer --locked

fmt:
	$(CARGO) fmt --all
