#!/usr/bin/env bash
# A tour of mydocker in one minute: a network, a web server on it with a published port, a second container,
# and back to nothing. Each command is shown before it runs, and the first surprise ends it with a failure.
# Usage: tests/demo.sh PATH-TO-MYDOCKER     (as root; needs curl, ip and busybox, but no nft, iptables or Docker)
set -euo pipefail

binary=$(realpath "${1:?usage: $0 PATH-TO-MYDOCKER}")
network=mydemo0
work=$(mktemp -d /tmp/mydocker-demo.XXXXXX)
# State directories of its own: the demo sees none of your containers, and they see nothing of the demo.
export MYDOCKER_ROOT=$work/root MYDOCKER_RUN_ROOT=$work/run
# So that the commands below are what you would type.
mkdir "$work/bin"
ln -s "$binary" "$work/bin/mydocker"
PATH=$work/bin:$PATH

bold='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; fi

say() { printf '\n'; printf '# %s\n' "$@"; }
show() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; }
run() { show "$@"; "$@"; }
fail() { printf '\nThe demo failed: %s\n' "$1" >&2; exit 1; }
# Runs a command that has to print exactly this.
expect() {
  local wanted=$1 got; shift
  show "$@"
  got=$("$@") || fail "the command above exited with $?"
  [ -z "$got" ] || printf '%s\n' "$got"
  [ "$got" = "$wanted" ] || fail "expected: $wanted"
}

clean_up() {
  local status=$?
  trap - EXIT
  set +e
  # After a full tour there is nothing left to remove, and these say so to nobody.
  mydocker rm -f web >/dev/null 2>&1
  mydocker network remove "$network" >/dev/null 2>&1
  rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

[ "$(id -u)" = 0 ] || fail "it makes network devices and containers: run it as root"
[ ! -e "/sys/class/net/$network" ] || fail "there is a device $network already"
[[ $(mydocker network rules 2>/dev/null) != *"inet mydocker"* ]] ||
  fail "mydocker has networks on this host; remove them first, the demo ends by removing the table"

# An address of this host that is not loopback, to reach the published port as another machine would.
host_address=$(ip -o -4 address show scope global | sed -n 's/.* inet \([0-9.]*\).*/\1/p' | head -n 1)
port=8080
while (: </dev/tcp/127.0.0.1/$port) 2>/dev/null; do port=$((port + 1)); done

say "A network is a bridge, a subnet, and a few elements in one nftables table."
run mydocker network create "$network"
run mydocker network list

say "A container whose image is this host's own system: / beneath, its own changes on top." \
  "Its web server listens on port 80, published as port $port of the host."
page='Hello from a container of mydocker.'
script="mkdir /tmp/www && echo '$page' > /tmp/www/index.html && exec busybox httpd -f -p 80 -h /tmp/www"
show mydocker run -d --name web --net "$network" -p "$port:80" / sh -c "\"$script\""
web=$(mydocker run -d --name web --net "$network" -p "$port:80" / sh -c "$script")
printf '%s\n' "$web"
[[ $web =~ ^[0-9a-f]{64}$ ]] || fail "run -d should print an id of 64 hexadecimal digits"
run mydocker ps
[ ! -e /tmp/www ] || fail "the container wrote to the host's /tmp"
for _ in $(seq 600); do
  curl -sf -o /dev/null "http://127.0.0.1:$port/" && break
  sleep 0.1
done

say "The host reaches it through the published port."
expect "$page" curl -s --max-time 60 "http://127.0.0.1:$port/"

address=$(mydocker inspect web | sed -n 's/.*"IPAddress": *"\([0-9.]\{7,\}\)".*/\1/p' | head -n 1)
[ -n "$address" ] || fail "inspect shows no address"
say "A second container reaches it by its address, $address …"
expect "$page" mydocker run --rm --net "$network" / curl -s --max-time 60 "http://$address/"
if [ -n "$host_address" ]; then
  say "… and through the host's address and the published port."
  expect "$page" mydocker run --rm --net "$network" / curl -s --max-time 60 "http://$host_address:$port/"
fi

say "What the kernel holds for all of this, in nft's own syntax, read without nft:"
run mydocker network rules
[[ $(mydocker network rules) == *"$port"* ]] || fail "the published port is not among the rules"

say "Back to nothing."
run mydocker stop -t 1 web
run mydocker rm web
run mydocker network remove "$network"
expect "" mydocker ps -a -q
expect "" mydocker network list -q
show ip link show "$network"
! ip link show "$network" || fail "the bridge is still there"
left=$(mydocker network rules 2>/dev/null || true)
[[ $left != *"inet mydocker"* ]] || fail "the table is still there"
left=$(find "$MYDOCKER_ROOT/containers" "$MYDOCKER_ROOT/overlay2" "$MYDOCKER_ROOT/network/network" \
  -mindepth 1 2>/dev/null || true)
[ -z "$left" ] || fail "files are left: $left"
[ ! -e "/run/netns/$web" ] || fail "the network namespace is still pinned"

printf '\nThat was mydocker. Nothing of it is left on this host.\n'
