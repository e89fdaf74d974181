# What the checks are written with. Sourced by tests/vm/start, inside the machine.
M=/job/mydocker
IMG=/img
V=$(stat -fc %T /sys/fs/cgroup | sed 's/cgroup2fs/2/; s/tmpfs/1/')

result() { printf '%s\n' "$1" | tr -d '\000\r' >>/job/results; }
pass() { result "ok   $1"; }
fail() { result "FAIL $1: $2"; }
skip() { result "skip $1: $2"; }

# What a command or a function prints within so many seconds, and its exit status: 124 where that was not enough.
bounded() {
  local seconds=$1
  shift
  timeout -k 5 "$seconds" bash -c '"$@"' bounded "$@" 2>&1 </dev/null
  echo "=$?"
}
# In one line, and of a long text its beginning and its end.
told() {
  if [ ${#1} -lt 1600 ]; then printf %s "$1"; else printf '%s … %s' "${1:0:300}" "${1: -1200}"; fi | tr '\n' '|'
}
# ok NAME PATTERN COMMAND…: everything that the command prints, with its exit status in a last line, has to match.
ok() {
  local name=$1 want=$2 got
  shift 2
  got=$(bounded "${patience:-240}" "$@")
  if [[ $got =~ $want ]]; then pass "$name"; else fail "$name" "wanted /$want/, got: $(told "$got")"; fi
}
# eventually NAME PATTERN COMMAND…: the same, once it does; given up after a minute.
eventually() {
  local name=$1 want=$2 got end=$((SECONDS + 60))
  shift 2
  while :; do
    got=$(bounded 60 "$@")
    [[ ! $got =~ $want ]] || { pass "$name"; return; }
    [ $SECONDS -lt $end ] || break
    sleep 0.3
  done
  fail "$name" "wanted /$want/ within a minute, got: $(told "$got")"
}

# A container for one command; the same on the network of none.
run() { "$M" run --rm --net none "$@"; }
field() { "$M" inspect --format "{{$2}}" "$1"; }
# The supervisor of a container: the parent of its first process.
supervisor() { sed -n 's/^PPid:\t//p' "/proc/$(field "$1" .State.Pid)/status"; }
# The names of the containers that run, in a line.
running() { echo $("$M" ps --format '{{.Names}}' | sort); }
export -f run field supervisor running
export M IMG V

make_image() {
  local applet
  mkdir -p $IMG/bin $IMG/etc $IMG/tmp $IMG/www
  cp /bin/busybox $IMG/bin/
  for applet in sh cat ls true mount id grep ps sleep stat echo env mkdir touch mknod dd head rmdir test tr wc httpd wget nc seq; do
    ln -sf busybox "$IMG/bin/$applet"
  done
  echo 'root:x:0:0:root:/:/bin/sh' >$IMG/etc/passwd
  echo 'page of the image' >$IMG/www/index.html
  echo 'a secret' >$IMG/etc/secret
}

# A host outside, on the far end of a link: 203.0.113.7 and 2001:db8:113::7; ours are .1 and ::1.
make_outside() {
  ip netns add outside
  ip link add up0 type veth peer name eth0 netns outside
  ip address add 203.0.113.1/24 dev up0
  ip address add 2001:db8:113::1/64 dev up0 nodad
  ip link set up0 up
  ip -n outside link set lo up
  ip -n outside address add 203.0.113.7/24 dev eth0
  ip -n outside address add 2001:db8:113::7/64 dev eth0 nodad
  ip -n outside link set eth0 up
  ip -n outside route add default via 203.0.113.1
  ip -n outside route add default via 2001:db8:113::1
  # Nobody answers there; but each container would warn of a host without any.
  echo 'nameserver 203.0.113.7' >/etc/resolv.conf
}
outside() { ip netns exec outside "$@"; }
page() { curl -s --noproxy '*' --max-time "${2:-10}" "$1"; }
export -f outside page
