# mydocker: build it, see it, test it. `make` alone explains the targets.
# Every target first installs what it needs and does not find (Debian and Ubuntu; then it has to be root).

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build demo test test-vm test-vm-suite fuzz bench bench-peers bench-pull install install-built install-cni uninstall-cni uninstall deb clean

# Where rustup puts cargo, and .ci/dependencies leads to one of the distribution's, in case the shell does not know yet.
export PATH := $(HOME)/.cargo/bin:$(CURDIR)/target/toolchain:$(PATH)

# Naming the target keeps the static flag from the build scripts, which must stay dynamic.
TARGET := $(shell uname -m)-unknown-linux-gnu
BINARY := target/$(TARGET)/release/mydocker
PREFIX ?= /usr/local

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

build: ## build one static binary, without any library it depends on at run time
	.ci/dependencies build
	MYDOCKER_COMMIT=$$(git describe --always --dirty 2>/dev/null) \
	  RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --target $(TARGET)
	@echo "built $(BINARY)"

demo: ## build, then show a network, a web server and its published port (root)
	.ci/dependencies demo
	$(MAKE) --no-print-directory build
	tests/demo.sh $(BINARY)

# A shell's background jobs ignore Ctrl-C, and so would all that the tests start from there.
test: ## run all tests, with real packets in namespaces of their own (root)
	.ci/dependencies test
	env --default-signal=INT,QUIT cargo test --locked

test-vm: ## boot Debian 12 and 13 with their own kernels in QEMU, and check the built binary there (root; 40 minutes without KVM)
	.ci/dependencies vm
	$(MAKE) --no-print-directory build
	tests/vm/run $(BINARY)

# Groups of tests/it, SYSTEMS="debian-12 debian-13": all of it takes hours where there is no KVM.
TESTS ?= ::
SYSTEMS ?= debian-12
# Optimised, with the checks of a debug build: emulated, that is several times as fast.
test-vm-suite: ## run the integration tests themselves in such machines (TESTS="exec:: limits::" are those groups alone)
	.ci/dependencies vm
	CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_DEV_DEBUG=0 RUSTFLAGS='-C target-feature=+crt-static' \
	  cargo test --locked --no-run --target $(TARGET) --test it
	MYDOCKER_VM_TESTS='$(TESTS)' MYDOCKER_VM_TIMEOUT=$${MYDOCKER_VM_TIMEOUT:-43200} \
	  MYDOCKER_VM_TEST_PROGRAM=$$(ls -t target/$(TARGET)/debug/deps/it-* | grep -v '\.d$$' | head -n 1) \
	  tests/vm/run target/$(TARGET)/debug/mydocker $(SYSTEMS)

# Targets by their names, all where none is named; the seconds for each. Flags as those of cargo-fuzz, which wants another Rust.
FUZZ ?=
FUZZ_SECONDS ?= 60
FUZZ_FLAGS := --cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
  -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
  -C llvm-args=-sanitizer-coverage-trace-compares
fuzz: ## look for inputs that break a parser, a minute for each (FUZZ_SECONDS=600 FUZZ="dns-question tar")
	.ci/dependencies build
	RUSTFLAGS='$(FUZZ_FLAGS)' cargo build --locked --profile fuzz --target $(TARGET) --example fuzz
	program=target/$(TARGET)/fuzz/examples/fuzz; targets='$(FUZZ)'; \
	for target in $${targets:-$$($$program)}; do \
	  echo "== $$target"; corpus=target/fuzz/corpus/$$target; mkdir -p $$corpus target/fuzz/found; \
	  MYDOCKER_FUZZ_TARGET=$$target MYDOCKER_FUZZ_CORPUS=$$corpus $$program $$corpus -max_total_time=$(FUZZ_SECONDS) \
	    -max_len=65536 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0 -artifact_prefix=target/fuzz/found/$$target-; \
	done

# Where the raw figures go, each file with its date; a path of its own for a trial: RESULTS=/tmp/trial.
RESULTS ?= benches/results
bench bench-peers bench-pull: export MYDOCKER_BENCH_RESULTS = $(abspath $(RESULTS))
bench bench-peers bench-pull: export MYDOCKER_BENCH_BINARY = $(abspath $(BINARY))
bench bench-peers bench-pull: export MYDOCKER_BENCH_COMMIT = $(shell git describe --always --dirty 2>/dev/null)

# Whatever of this cannot be had here is reported as missing by the benchmark itself.
NETAVARK := 2.1.0
AARDVARK := 2.1.0
PEERS := target/peers
# $(call peer,NAME,VERSION)
peer = $(PEERS)/bin/$(1) --version 2>/dev/null | grep -qx '$(1) $(2)' || \
  cargo install --locked --version '=$(2)' --root $(PEERS) --target-dir $(PEERS)/build $(1) || \
  echo '$(1) $(2) cannot be built here'

bench: build ## measure each part next to the bare kernel, and 1,000 containers, in minutes (root; an idle machine)
	.ci/dependencies bench
	$(call peer,aardvark-dns,$(AARDVARK))
	cargo bench --locked --bench speed

bench-peers: build ## measure mydocker next to netavark, CNI, podman and Docker, in an hour or more (root; an idle machine)
	.ci/dependencies peers
	$(call peer,netavark,$(NETAVARK))
	MYDOCKER_BENCH_PEERS=1 cargo bench --locked --bench peers

bench-pull: build ## measure pulls next to what none can do without, and to podman and containerd, in minutes (root; an idle machine)
	.ci/dependencies pull
	MYDOCKER_BENCH_PULL=1 cargo bench --locked --bench pull

MAN_PAGES = $(PREFIX)/share/man/man1
BASH_COMPLETIONS ?= $(PREFIX)/share/bash-completion/completions
ZSH_COMPLETIONS ?= $(PREFIX)/share/zsh/site-functions
FISH_COMPLETIONS ?= $(PREFIX)/share/fish/vendor_completions.d
SYSTEMD_UNITS ?= $(PREFIX)/lib/systemd/system
# What writes pages and completions: for another architecture's binary, one that runs on this machine.
GENERATOR ?= $(BINARY)
# The day of the commit, so that the same source gives the same pages.
PAGE_DATE = $(shell date -u -d "@$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || date +%s)}" +%F)

install: build install-built ## install binary, manual pages, completions and a unit to /usr/local (PREFIX=DIR, DESTDIR=DIR)

# The same of a binary that is there.
install-built:
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/mydocker
	install -d $(addprefix $(DESTDIR),$(MAN_PAGES) $(BASH_COMPLETIONS) $(ZSH_COMPLETIONS) $(FISH_COMPLETIONS) $(SYSTEMD_UNITS))
	$(GENERATOR) man --date $(PAGE_DATE) $(DESTDIR)$(MAN_PAGES)
	$(GENERATOR) completion bash >$(DESTDIR)$(BASH_COMPLETIONS)/mydocker
	$(GENERATOR) completion zsh >$(DESTDIR)$(ZSH_COMPLETIONS)/_mydocker
	$(GENERATOR) completion fish >$(DESTDIR)$(FISH_COMPLETIONS)/mydocker.fish
	for unit in mydocker@.service mydocker-boot.service; do \
	  sed 's|@BINDIR@|$(PREFIX)/bin|' .ci/package/$$unit >$(DESTDIR)$(SYSTEMD_UNITS)/$$unit; done

# Where other engines look for CNI plugins, and the names by which they are called there beside `mydocker`. What others
# have put there under these names is kept.
CNI_BIN ?= /opt/cni/bin
CNI_NAMES ?= bridge portmap firewall loopback tuning
PODMAN_BIN ?= /usr/libexec/mydocker
install-cni: build ## install the CNI plugins to /opt/cni/bin and Podman's back end to /usr/libexec/mydocker (CNI_BIN=, CNI_NAMES=, DESTDIR=)
	for name in $(CNI_NAMES); do at=$(DESTDIR)$(CNI_BIN)/$$name; \
	  if [ -e $$at ] && ! [ $$at -ef $(DESTDIR)$(CNI_BIN)/mydocker ] && ! [ -e $$at.replaced ]; then \
	    mv $$at $$at.replaced; fi; done
	install -D -m 0755 $(BINARY) $(DESTDIR)$(CNI_BIN)/mydocker
	for name in $(CNI_NAMES); do ln -f $(DESTDIR)$(CNI_BIN)/mydocker $(DESTDIR)$(CNI_BIN)/$$name; done
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PODMAN_BIN)/netavark
	install -d $(DESTDIR)$(PODMAN_BIN)/netavark-plugins
	ln -f $(DESTDIR)$(PODMAN_BIN)/netavark $(DESTDIR)$(PODMAN_BIN)/netavark-plugins/mydocker

uninstall-cni: ## remove what `make install-cni` installed, and put back what it replaced (with the same CNI_BIN, CNI_NAMES and DESTDIR)
	for name in $(CNI_NAMES); do at=$(DESTDIR)$(CNI_BIN)/$$name; \
	  if [ $$at -ef $(DESTDIR)$(CNI_BIN)/mydocker ]; then rm -f $$at; fi; \
	  if [ -e $$at.replaced ] && ! [ -e $$at ]; then mv $$at.replaced $$at; fi; done
	rm -f $(DESTDIR)$(CNI_BIN)/mydocker $(DESTDIR)$(PODMAN_BIN)/netavark $(DESTDIR)$(PODMAN_BIN)/netavark-plugins/mydocker

uninstall: ## remove what `make install` installed (with the same PREFIX and DESTDIR)
	rm -f $(DESTDIR)$(PREFIX)/bin/mydocker $(DESTDIR)$(MAN_PAGES)/mydocker.1 $(DESTDIR)$(MAN_PAGES)/mydocker-*.1 \
	  $(DESTDIR)$(BASH_COMPLETIONS)/mydocker $(DESTDIR)$(ZSH_COMPLETIONS)/_mydocker \
	  $(DESTDIR)$(FISH_COMPLETIONS)/mydocker.fish $(DESTDIR)$(SYSTEMD_UNITS)/mydocker@.service \
	  $(DESTDIR)$(SYSTEMD_UNITS)/mydocker-boot.service

deb: build ## build a Debian package of all that, in target/debian
	.ci/package/deb target/debian

clean: ## remove everything that was built
	cargo clean
