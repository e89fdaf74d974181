# mydocker: build it, see it, test it. `make` alone explains the targets.
# Every target first installs what it needs and does not find (Debian and Ubuntu; then it has to be root).

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build demo test bench install clean

# Where rustup puts cargo, in case the shell does not know yet.
export PATH := $(HOME)/.cargo/bin:$(PATH)

# Naming the target keeps the static flag from the build scripts, which must stay dynamic.
TARGET := $(shell uname -m)-unknown-linux-gnu
BINARY := target/$(TARGET)/release/mydocker
PREFIX ?= /usr/local

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

build: ## build one static binary, without any library it depends on at run time
	.ci/dependencies build
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --target $(TARGET)
	@echo "built $(BINARY)"

demo: ## build, then show a network, a web server and its published port (root)
	.ci/dependencies demo
	$(MAKE) --no-print-directory build
	tests/demo.sh $(BINARY)

test: ## run all tests, with real packets in namespaces of their own (root)
	.ci/dependencies test
	cargo test --locked

bench: ## run the benchmarks
	.ci/dependencies build
	cargo bench --locked

install: build ## install the static binary to /usr/local/bin (PREFIX=DIR: to DIR/bin)
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/mydocker

clean: ## remove everything that was built
	cargo clean
