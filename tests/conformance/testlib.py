"""Finds CPython's `test` package for interpreters that come without it.

Distributions often leave it out, and so do builds with `--disable-test-modules`. `scripts/fetch_test_suite.sh` puts a
copy of the matching version where this module looks.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
from dataclasses import dataclass

from .rules import Interpreter


@dataclass(frozen=True)
class Library:
    """A folder to put before the import path, or `None` where the interpreter's own package is complete."""

    path: pathlib.Path | None


def find_test_lib(given: pathlib.Path | None, interpreter: Interpreter) -> Library | str:
    """Returns where the `test` package is, or the sentence that says why there is none to be had."""
    if given is not None:
        if _complete(given):
            return Library(given.resolve())
        return f"{given} holds no CPython `test.test_asyncio` package"
    if _own_is_complete():
        return Library(None)
    cached = cache_folder() / "test-lib" / f"{interpreter.version[0]}.{interpreter.version[1]}"
    if _complete(cached):
        return Library(cached)
    return (
        f"CPython {interpreter.tag} has no `test.test_asyncio`, and {cached} has none: run scripts/fetch_test_suite.sh"
    )


def cache_folder() -> pathlib.Path:
    """Returns the folder in which pyloop's scripts keep what they fetched."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "pyloop"


def _complete(folder: pathlib.Path) -> bool:
    """Tells whether `folder/test` has the asyncio tests and what they lean on."""
    needed = ("test/__init__.py", "test/support/__init__.py", "test/test_asyncio/utils.py")
    return all((folder / name).is_file() for name in needed)


def _own_is_complete() -> bool:
    try:
        return importlib.util.find_spec("test.test_asyncio") is not None
    except ModuleNotFoundError:
        return False
