#!/bin/sh
# Gathers into a folder what Node needs to run, and nothing else: its binary, the libraries that it
# is linked with, their packages' records and licences, certificate authorities, and a user.
#
#   docker/runtime-root.sh FOLDER       inside of a Debian image with Node
#
# The records (/var/lib/dpkg/status.d) let a scanner of vulnerabilities see which libraries these are.
set -eu

root=$1
node=$(command -v node)

copy() {
  mkdir -p "$root$(dirname "$1")"
  cp -L "$1" "$root$1"
}

# Libraries lie in /usr/lib, and packages may still name them in /lib.
package_of() {
  dpkg-query -S "$1" 2> /dev/null || dpkg-query -S "/usr$1" 2> /dev/null ||
    dpkg-query -S "${1#/usr}" 2> /dev/null || echo "unknown"
}

record() {
  status=$root/var/lib/dpkg/status.d
  mkdir -p "$status"
  dpkg-query -s "$1" > "$status/$1"
  licence=/usr/share/doc/$1/copyright
  [ ! -e "$licence" ] || copy "$licence"
}

copy "$node"
for library in $(ldd "$node" | grep -o '/[^ ]*'); do
  copy "$library"
  package=$(package_of "$library" | head -n 1 | cut -d : -f 1)
  [ "$package" = unknown ] || record "$package"
done
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || copy /etc/ssl/certs/ca-certificates.crt

mkdir -p "$root/etc" "$root/tmp" "$root/var/lib/sluiceway"
chmod 1777 "$root/tmp"
echo 'sluiceway:x:65532:65532::/var/lib/sluiceway:/sbin/nologin' > "$root/etc/passwd"
echo 'sluiceway:x:65532:' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
chmod 0700 "$root/var/lib/sluiceway"
chown 65532:65532 "$root/var/lib/sluiceway"
