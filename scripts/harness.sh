#!/bin/sh
# Runs scripts/harness with a CPython that pyloop supports: the `python3` of PATH if it is one, else the newest beside it.
#
# usage: harness.sh COMMAND [ARGUMENT ...]     PYTHON=... chooses the interpreter
set -eu
cd "$(dirname "$0")/.."

usable() {
    "$1" -c 'import sys; sys.exit(not ((3, 10) <= sys.version_info[:2] <= (3, 14)))' 2>/dev/null &&
        "$1" -m pip --version >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    usable "$PYTHON" || { echo "harness.sh: PYTHON=$PYTHON is no CPython 3.10 to 3.14 with pip" >&2; exit 2; }
    exec "$PYTHON" -m scripts.harness "$@"
fi
for candidate in python3 python python3.14 python3.13 python3.12 python3.11 python3.10; do
    if usable "$candidate"; then
        exec "$candidate" -m scripts.harness "$@"
    fi
done
echo "harness.sh: PATH has no CPython 3.10 to 3.14 with pip; name one: make ... PYTHON=/path/to/python" >&2
exit 2
