#!/bin/sh
# Builds the peers from nothing into a folder (default: bin beside this file), one job at a time and
# at the lowest priority. What is there already is left alone; what fails to build is named at the
# end, and the bench then runs without it.
#
#   sh native-free-bench/peers/build.sh [FOLDER] [NAME...]
#
# Needs a Go toolchain for chisel and frp, and Cargo for rathole and bore.
# ssh, sshd, haproxy and nginx come from the distribution: apt-get install openssh-server haproxy
# nginx-light.
set -u

CHISEL=v1.10.1
FRP=v0.61.0
# frp's own replacement of yamux: a `replace` holds in the main module only, so it is repeated here.
FRP_YAMUX=github.com/fatedier/yamux@v0.0.0-20230628132301-7aca4898904d
RATHOLE=0.5.0
BORE=0.6.0

here=$(cd "$(dirname "$0")" && pwd)
bin=${1:-$here/bin}
[ $# -gt 0 ] && shift
wanted=${*:-chisel frp rathole bore}
mkdir -p "$bin"
bin=$(cd "$bin" && pwd)
PATH=$PATH:/usr/local/go/bin:$HOME/.cargo/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A module of its own for each, so that the versions of the one's dependencies do not raise the
# other's; it names the pinned version, so nothing asks which versions there are.
build_go() {
  name=$1 module=$2 replace=$3
  shift 3
  mkdir -p "$work/$name" && cd "$work/$name" && go mod init peers 2>/dev/null &&
    go mod edit -require "$module" ${replace:+-replace "$replace"} &&
    nice -n 19 go build -mod=mod -p 1 -trimpath -ldflags "-s -w -X github.com/jpillora/chisel/share.BuildVersion=$CHISEL" \
        -o "$bin/" "$@"
}

build_chisel() {
  [ -x "$bin/chisel" ] ||
    build_go chisel "github.com/jpillora/chisel@$CHISEL" '' github.com/jpillora/chisel
}

build_frp() {
  [ -x "$bin/frps" ] && [ -x "$bin/frpc" ] ||
    build_go frp "github.com/fatedier/frp@$FRP" "github.com/hashicorp/yamux=$FRP_YAMUX" \
      github.com/fatedier/frp/cmd/frps github.com/fatedier/frp/cmd/frpc
}

# Without --locked where the crate's lock file names a dependency that today's compiler refuses.
build_crate() {
  name=$1 crate=$2 version=$3 lock=$4
  [ -x "$bin/$name" ] || {
    nice -n 19 cargo install --quiet $lock -j 2 --root "$work/$name" \
      --target-dir "$work/target-$name" "$crate" --version "$version" &&
      cp "$work/$name/bin/$name" "$bin/$name"
  }
}

failed=
for name in $wanted; do
  echo "peers: $name"
  case $name in
    chisel) build_chisel ;;
    frp) build_frp ;;
    rathole) build_crate rathole rathole "$RATHOLE" '' ;;
    bore) build_crate bore bore-cli "$BORE" --locked ;;
    *) false ;;
  esac || failed="$failed $name"
done
[ -z "$failed" ] || { echo "peers: not built:$failed" >&2; exit 1; }
