#!/bin/bash
# Installs what building pyloop and fetching further CPythons takes on Debian and its kin, if it is missing.
#
# usage: install-system-packages.sh [--servers]     needs root, or sudo without a password, only if something is missing
#
# build-essential     the linker and C compiler that cargo calls
# xz-utils            unpacks sources
# openssl             makes the certificates of the tests of TLS
# strace              counts the system calls that some tests are about
# lib*-dev, uuid-dev  the modules of a CPython that is built from source: ssl, ctypes, zlib, bz2, lzma, sqlite3, readline, uuid
#
# and with --servers, for tests/frameworks, which start servers of their own from them and skip what is missing:
#
# postgresql          asyncpg's server; its package's user runs it where the tests are run by root
# redis-server        redis-py's server
set -euo pipefail

packages=(build-essential xz-utils openssl strace libssl-dev libffi-dev zlib1g-dev libbz2-dev liblzma-dev libsqlite3-dev libreadline-dev uuid-dev)
case "${1:-}" in
    --servers) packages+=(postgresql redis-server) ;;
    "") ;;
    *)
        sed -n 's/^# usage: /usage: /p' "$0" >&2
        exit 2
        ;;
esac

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || {
    echo "install-system-packages.sh: no Debian; its packages are: ${packages[*]}" >&2
    exit 1
}
missing=()
for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "install-system-packages.sh: all there"
    exit 0
fi
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
echo "install-system-packages.sh: installs ${missing[*]}"
"${as_root[@]}" apt-get -qq update
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get -qq install --no-install-recommends -y "${missing[@]}"
