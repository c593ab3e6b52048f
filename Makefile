# pulsehub: `make` prints what there is.

.DEFAULT_GOAL := help
.PHONY: help run test chaos services bench lint build build-server clean

RELEASE := $(or $(CARGO_TARGET_DIR),target)/release/pulsehub

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build, then run everything on this machine; a sample streams where GitHub can't be reached
	cargo build --release
	$(RELEASE) run --host 127.0.0.1 --sample auto

test: ## run every test, against the recorded data in ../shared too, and close with a summary
	scripts/ensure python3 openssl curl chromium node=nodejs npm jsonschema=python3-jsonschema
	scripts/test

chaos: ## break it and its services for hours, going on where it stood; ROUNDS=3 ONLY=kill-embedded,soak
	scripts/ensure python3
	cargo build --release
	python3 tests/chaos --binary $(RELEASE) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY))

services: ## start Redis, MariaDB and Pulsar here, and run pulsehub on them until Ctrl-C
	scripts/ensure python3
	cargo build --release
	scripts/run-on-services

bench: ## measure throughput, latency and memory beside their goals; ONLY=live measures one stage
	scripts/ensure python3
	cargo bench --bench pipeline -- $(ONLY)

lint: ## format check, lints
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

build: ## build bin/pulsehub for this machine
	cargo build --release
	install -D $(RELEASE) bin/pulsehub

build-server: ## build bin/pulsehub-linux-amd64, static, for x86-64 Linux servers
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --target x86_64-unknown-linux-gnu
	install -D target/x86_64-unknown-linux-gnu/release/pulsehub bin/pulsehub-linux-amd64

clean: ## remove what was built
	cargo clean
	rm -rf bin
