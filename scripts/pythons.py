#!/usr/bin/env python3
"""Finds the CPythons on this machine that pyloop supports; prints `tag<TAB>path`, one line each.

A tag is the minor version, with a `t` for a free-threaded build: `3.13`, `3.13t`. For each tag the newest patch release
is printed, oldest tag first. Looked at, in order, and the earlier wins among equals:

* the paths in PYLOOP_PYTHONS, separated like PATH; one that cannot be used is an error, because somebody asked for it;
* `pythons/*/bin` and `pythons/*/venv/bin` in pyloop's cache (`${XDG_CACHE_HOME:-~/.cache}/pyloop`);
* the versions of pyenv (`${PYENV_ROOT:-~/.pyenv}/versions`);
* PATH.

usage: pythons.py [TAG ...]     with tags: these alone, and an error for each that is not there
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
import sys

OLDEST, NEWEST = (3, 10), (3, 14)

_NAME = re.compile(r"python(3(\.\d+t?)?)?$")

# Proves what a build and the tests need of an interpreter; an installation that lost its library fails here.
_PROBE = """
import sys, sysconfig, asyncio, ssl, ctypes, venv
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
if sys.implementation.name == "cpython" and sys.version_info.releaselevel == "final":
    print(*sys.version_info[:3], int(free_threaded))
"""
_PROBE_SECONDS = 20

Version = tuple[int, int, int]


def asked_for() -> list[str]:
    """Returns the interpreters named in PYLOOP_PYTHONS."""
    return [path for path in os.environ.get("PYLOOP_PYTHONS", "").split(os.pathsep) if path]


def folders() -> list[str]:
    """Returns the folders in which interpreters may lie, the preferred ones first."""
    home = os.path.expanduser("~")
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache"), "pyloop", "pythons")
    pyenv = os.environ.get("PYENV_ROOT") or os.path.join(home, ".pyenv")
    found = []
    for pattern in (
        os.path.join(cache, "*", "bin"),
        os.path.join(cache, "*", "venv", "bin"),
        os.path.join(pyenv, "versions", "*", "bin"),
    ):
        found += sorted(glob.glob(pattern))
    shims = os.path.join(pyenv, "shims")  # scripts that choose a version by folder: no interpreters of their own
    return found + [path for path in os.environ.get("PATH", "").split(os.pathsep) if path and path != shims]


def candidates() -> list[str]:
    """Returns every file that may be an interpreter, each installation's once."""
    found: dict[str, str] = {}
    for folder in dict.fromkeys(folders()):
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            path = os.path.join(folder, name)
            if not _NAME.match(name) or not os.access(path, os.X_OK):
                continue
            # A virtual environment's interpreter is a link to another's and yet not the same thing.
            within = os.path.join(os.path.dirname(folder), "pyvenv.cfg")
            found.setdefault(path if os.path.exists(within) else os.path.realpath(path), path)
    return list(found.values())


def probe(path: str) -> tuple[Version, bool] | None:
    """Returns version and free-threadedness of a working CPython, `None` for anything else."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            [path, "-c", _PROBE],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = done.stdout.split()
    if done.returncode != 0 or len(words) != 4:
        return None
    major, minor, patch, free_threaded = map(int, words)
    return (major, minor, patch), bool(free_threaded)


def find() -> dict[str, str]:
    """Returns the best interpreter of each tag, oldest tag first."""
    best: dict[tuple[int, int, bool], tuple[int, int, str]] = {}
    asked = asked_for()
    for rank, path in enumerate([*asked, *candidates()]):
        facts = probe(path)
        if facts is None and path in asked:
            raise SystemExit(f"pythons.py: PYLOOP_PYTHONS names {path}, which is no working CPython")
        if facts is None:
            continue
        (major, minor, patch), free_threaded = facts
        if not OLDEST <= (major, minor) <= NEWEST or (free_threaded and minor < 13):
            continue
        entry = (patch, -rank, path)
        key = (major, minor, free_threaded)
        best[key] = max(best.get(key, entry), entry)
    return {f"{major}.{minor}{'t' * free}": best[major, minor, free][2] for major, minor, free in sorted(best)}


def main(wanted: list[str]) -> int:
    """Prints what was found, and complains about wanted tags that were not."""
    found = find()
    for tag, path in found.items():
        if not wanted or tag in wanted:
            print(f"{tag}\t{path}")
    missing = [tag for tag in wanted if tag not in found]
    for tag in missing:
        print(f"pythons.py: no CPython {tag} on this machine", file=sys.stderr)
    return 1 if missing or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
