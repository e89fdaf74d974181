#!/usr/bin/env bash
# A tour of mydocker in one minute: a network, a web server on it with a published port, a second container,
# another machine, and back to nothing. Each command is shown before it runs, and the first surprise ends it with a
# failure.
# It all happens in network and mount namespaces of its own: whatever mydocker, Docker or anybody else has on this
# machine is left alone, and leaves the demo alone.
# Usage: tests/demo.sh PATH-TO-MYDOCKER     (as root; needs curl, ip, unshare and busybox, but no nft, iptables or Docker)
set -euo pipefail

fail() { printf '\nThe demo failed: %s\n' "$1" >&2; exit 1; }

binary=$(realpath "${1:?usage: $0 PATH-TO-MYDOCKER}")
[ "$(id -u)" = 0 ] || fail "it makes network devices and containers: run it as root"
if [ "${2:-}" != inside ]; then
  unshare --net --mount --propagation private bash -c : || fail "namespaces of its own cannot be made here"
  exec unshare --net --mount --propagation private bash "$0" "$binary" inside
fi

network=mydemo0
# The address and port where the web server is found from elsewhere, and who looks for it there.
host_address=198.51.100.10 other_address=198.51.100.20 port=8080
# Named namespaces, and whatever else is in /run, are the demo's own as well.
mount -t tmpfs tmpfs /run
work=$(mktemp -d "${TMPDIR:-/tmp}/mydocker-demo.XXXXXX")
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

# The demo's host has a link, and on it another machine: a network namespace too.
ip link set lo up
ip netns add elsewhere
ip link add uplink0 type veth peer name eth0 netns elsewhere
ip address add "$host_address/24" dev uplink0
ip link set uplink0 up
ip -n elsewhere address add "$other_address/24" dev eth0
ip -n elsewhere link set eth0 up

say "All of this happens in namespaces of its own: nothing of this machine is changed."
run ip -brief address show up scope global

say "A network is a bridge, a subnet, and a few elements in one nftables table."
run mydocker network create "$network"
run mydocker network list
run ip -brief link show "$network"

say "A container whose image is this host's own system: / beneath, its own changes on top." \
  "Its web server listens on port 80, published as port $port of the host."
page='Hello from a container of mydocker.'
www=/tmp/$network-www
script="mkdir $www && echo '$page' > $www/index.html && exec busybox httpd -f -p 80 -h $www"
show mydocker run -d --name web --net "$network" -p "$port:80" / sh -c "\"$script\""
web=$(mydocker run -d --name web --net "$network" -p "$port:80" / sh -c "$script")
printf '%s\n' "$web"
[[ $web =~ ^[0-9a-f]{64}$ ]] || fail "run -d should print an id of 64 hexadecimal digits"
run mydocker ps
[ ! -e "$www" ] || fail "the container wrote to the host's /tmp"
for _ in $(seq 600); do
  curl -sf -o /dev/null "http://127.0.0.1:$port/" && break
  sleep 0.1
done

say "The host reaches it through the published port."
expect "$page" curl -s --max-time 60 "http://127.0.0.1:$port/"

say "Another machine reaches it through the host's address and the published port."
expect "$page" ip netns exec elsewhere curl -s --max-time 60 "http://$host_address:$port/"

address=$(mydocker inspect web | sed -n 's/.*"IPAddress": *"\([0-9.]\{7,\}\)".*/\1/p' | head -n 1)
[ -n "$address" ] || fail "inspect shows no address"
say "A second container reaches it by its address, $address …"
expect "$page" mydocker run --rm --net "$network" / curl -s --max-time 60 "http://$address/"
say "… and through the host's address and the published port."
expect "$page" mydocker run --rm --net "$network" / curl -s --max-time 60 "http://$host_address:$port/"

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
