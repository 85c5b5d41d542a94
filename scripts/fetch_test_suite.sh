#!/bin/bash
# Fetches CPython's own `test` package for an interpreter that was installed without it.
#
# usage: fetch_test_suite.sh PYTHON     PYTHON: the interpreter that lacks the package
#
# Needs apt-get and dpkg-deb (Debian and its kin), no root. The package lands in
# ${XDG_CACHE_HOME:-~/.cache}/pyloop/test-lib/MINOR, where tests/conformance looks for it. The Debian release is chosen
# whose CPython is nearest to PYTHON's own: asyncio's tests follow the fixes of each patch release.
set -euo pipefail

python=${1:?usage: fetch_test_suite.sh PYTHON}
full=$("$python" -c 'import platform; print(platform.python_version())')
minor=${full%.*}
target=${XDG_CACHE_HOME:-$HOME/.cache}/pyloop/test-lib/$minor

if [ -f "$target/test/test_asyncio/utils.py" ]; then
    echo "$target is there already"
    exit 0
fi
for tool in apt-get apt-cache dpkg-deb; do
    command -v "$tool" >/dev/null || { echo "fetch_test_suite.sh: needs $tool" >&2; exit 1; }
done

mirror=$({ grep -rhoP '^URIs:\s*\Khttps?://\S+/debian/?$' /etc/apt/sources.list.d/ 2>/dev/null || true
           grep -hoP '^deb\s+(\[.*?\]\s+)?\Khttps?://\S+/debian/?(?=\s)' /etc/apt/sources.list 2>/dev/null || true; } | head -1)
[ -n "$mirror" ] || { echo "fetch_test_suite.sh: this machine's apt knows no Debian mirror" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/lists/partial "$work"/cache/archives/partial "$work"/debs "$work"/root
for release in sid trixie; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main"
done >"$work/sources.list"
# Lists, cache and sources of our own: the system's stay as they are.
apt_options=(-oDir::State::Lists="$work/lists" -oDir::Cache="$work/cache" -oDir::Etc::SourceList="$work/sources.list"
    -oDir::Etc::SourceParts=/dev/null -oDir::State::status=/dev/null -oAPT::Sandbox::User="$(id -un)")
apt-get "${apt_options[@]}" -qq update

versions=$(apt-cache "${apt_options[@]}" madison "libpython$minor-testsuite" | awk '{print $3}')
[ -n "$versions" ] || { echo "fetch_test_suite.sh: the mirror has no tests of CPython $minor" >&2; exit 1; }
version=$(grep -m1 -E "^${full//./\\.}([^0-9]|$)" <<<"$versions" || head -1 <<<"$versions")

# One package has the tests, the other `test/__init__.py` and `test/support`.
(cd "$work/debs" && apt-get "${apt_options[@]}" -qq download \
    "libpython$minor-testsuite=$version" "libpython$minor-stdlib=$version")
for package in "$work"/debs/*.deb; do
    dpkg-deb --extract "$package" "$work/root"
done
mkdir -p "$target"
cp -r "$work/root/usr/lib/python$minor/test" "$target/"
[ -f "$target/test/test_asyncio/utils.py" ] || { echo "fetch_test_suite.sh: the packages lack test_asyncio" >&2; exit 1; }
echo "$target holds the tests of CPython $version"
