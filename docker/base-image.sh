#!/usr/bin/env bash
# Makes the base image of the Dockerfile where no image registry can be reached.
#
#   docker/base-image.sh [TAG]          node:26-slim by default, for the machine's own architecture
#
# The essential packages of Debian by mmdebstrap, Node's binary from npm's `node` package at the
# version of the lock file, and npm. The root file system is kept in .cache/, so that only the first
# run downloads it. The certificate authorities are this machine's, for networks that have their own.
# Not for what is published: that is built on the official image, which is kept up to date.
set -euo pipefail

cd "$(dirname "$0")/.."
tag=${1:-node:26-slim}
suite=bookworm
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
npm_version=11.19.1
node=node_modules/node/bin/node
authorities=/etc/ssl/certs/ca-certificates.crt

[ -x "$node" ] || { echo "$node is not there: run npm ci first" >&2; exit 1; }
version=$("$node" -p process.versions.node)
cache=.cache/base-image
rootfs=$cache/$suite-node-$version-npm-$npm_version.tar

make_rootfs() {
  local work
  work=$(mktemp -d "$cache/work.XXXXXX")
  # shellcheck disable=SC2064 # The folder of now is meant.
  trap "rm -rf '$work'" EXIT
  (cd "$work" && npm pack --silent "npm@$npm_version" > /dev/null)
  mkdir -p "$work/files/usr/local/bin" "$work/files/usr/local/lib/node_modules/npm"
  tar -xzf "$work/npm-$npm_version.tgz" -C "$work/files/usr/local/lib/node_modules/npm" --strip-components 1
  cp "$node" "$work/files/usr/local/bin/node"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$work/files/usr/local/bin/npm"
  mkdir -p "$work/files/etc/ssl/certs"
  [ ! -e "$authorities" ] || cp -L "$authorities" "$work/files$authorities"
  # Unsafe only if the machine loses its power meanwhile: then it is made anew.
  mmdebstrap --quiet --variant=essential --include=ca-certificates,libstdc++6,libatomic1 \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="copy-in $work/files/usr $work/files/etc /" \
    "$suite" "$work/rootfs.tar" "$mirror"
  mv "$work/rootfs.tar" "$rootfs"
}

mkdir -p "$cache"
[ -e "$rootfs" ] || make_rootfs
docker import --change "ENV NODE_VERSION=$version NODE_EXTRA_CA_CERTS=$authorities" "$rootfs" "$tag"
