#!/usr/bin/env bash
# Installs what building, showing or testing mydocker needs, and nothing that is there already.
# Usage: scripts/dependencies.sh build|demo|test     (Debian, Ubuntu and their kin; as root if anything is missing)
set -euo pipefail

# The oldest Rust that the crate and its dependencies build with.
oldest_rust=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$(dirname "$0")/../Cargo.toml")

case "${1:-}" in
  build) packages=(build-essential libclang-dev pkg-config) ;;
  demo) packages=(build-essential libclang-dev pkg-config busybox-static curl iproute2) ;;
  test) packages=(build-essential libclang-dev pkg-config busybox-static curl iproute2
                  iputils-ping nftables strace conntrack kmod) ;;
  *) echo "usage: $0 build|demo|test" >&2; exit 2 ;;
esac

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2; exit 1; }
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }
installed() { dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^ii'; }

updated=no
apt_update() {
  [ "$updated" = no ] || return 0
  [ "$(id -u)" = 0 ] || fail "packages are missing and only root can install them" "run make as root"
  apt-get update -q
  updated=yes
}
apt_install() {
  apt_update
  say "apt-get install $*"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

if command -v apt-get >/dev/null; then
  missing=()
  for package in "${packages[@]}"; do
    installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
else
  echo "This is no Debian: have your system's equivalents of these installed: ${packages[*]}"
fi

# Rust: what is there, else the distribution's own, else the newest through the distribution's rustup.
PATH="${HOME:-/root}/.cargo/bin:$PATH"
rust_here() {
  local version
  version=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) || return 1
  command -v rustc >/dev/null && at_least "$oldest_rust" "${version:-0}"
}
candidate() { apt-cache policy "$1" | sed -n 's/^ *Candidate: *//p' | grep -v '^(none)$'; }

if ! rust_here; then
  command -v apt-get >/dev/null || fail "there is no Rust $oldest_rust or newer here" "install it with rustup"
  apt_update
  version=$(candidate cargo || true)
  if dpkg --compare-versions "${version:-0}" ge "$oldest_rust"; then
    apt_install cargo rustc
  elif [ -n "$(candidate rustup || true)" ]; then
    apt_install rustup
    say "rustup toolchain install stable"
    rustup toolchain install stable --profile minimal
    rustup default stable
  fi
  hash -r
  rust_here || fail "this system's packages have no Rust $oldest_rust or newer (cargo is ${version:-not packaged})" \
    "install Rust with rustup and run this again"
fi
