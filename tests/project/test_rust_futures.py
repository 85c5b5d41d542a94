"""The example extension `examples/rust_futures` builds, and its futures cross the border on both loops."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "rust_futures"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
# From nothing it takes a minute of one processor; the interpreters with a GIL share one build.
BUILD_SECONDS = 900
SECONDS = 60

# What cargo says when it cannot fetch a crate.
_UNREACHABLE = re.compile(r"failed to (download|fetch|query)|Could(n't| not) resolve host|--offline", re.IGNORECASE)

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo")


@pytest.fixture(scope="session", autouse=True)
def bounded_time() -> None:
    """The bound of all other tests is too short for a build; here each command has its own."""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with the extension module."""
    tag = "{}.{}t".format(*sys.version_info[:2]) if FREE_THREADED else "abi3"
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / ".cache" / "target")) / f"rust-futures-{tag}"
    binding = {"PYO3_PYTHON": sys.executable} if FREE_THREADED else {"PYO3_NO_PYTHON": "1"}
    settings = {"PYO3_BUILD_EXTENSION_MODULE": "1", "CARGO_TARGET_DIR": str(target), "CARGO_PROFILE_DEV_DEBUG": "0"}
    done = subprocess.run(
        ["cargo", "build", "--locked"],
        cwd=EXAMPLE,
        env={**os.environ, **settings, **binding},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0 and _UNREACHABLE.search(done.stderr):
        pytest.skip("the crates of the example are not here, and could not be fetched")
    assert done.returncode == 0, done.stderr
    folder = tmp_path_factory.mktemp("rust_futures")
    suffix = sysconfig.get_config_var("EXT_SUFFIX") if FREE_THREADED else ".abi3.so"
    shutil.copy(target / "debug" / "librust_futures.so", folder / f"rust_futures{suffix}")
    return folder


def said(built: pathlib.Path, *arguments: str) -> list[str]:
    """What a program with the extension prints, line by line; it must end well and print nothing to stderr."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(built)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
def test_futures_cross_the_border(built: pathlib.Path, loop_name: str, debug: bool) -> None:
    assert said(built, *(["-X", "dev"] if debug else []), str(EXAMPLE / "main.py"), loop_name) == [
        f"loop: {loop_name}",
        "a Rust future: a value",
        "a Rust future that awaits coroutines: ['request 0', 'request 1', 'request 2']",
        "an error of Rust: said in Rust",
        "an error of Python, by way of Rust: no number 0",
        "fifty at once, in order: True",
        "given up, and dropped in Rust: 1",
    ]


FORK = """
import asyncio, os, sys, time
import rust_futures

async def main():
    return await asyncio.gather(*(rust_futures.delayed(number, 0.001) for number in range(50)))

asyncio.run(main())
child = os.fork()
if not child:
    async def again():
        await rust_futures.delayed(1, 0.001)
    try:
        asyncio.run(again())
    except RuntimeError as error:
        print(error, flush=True)
    sys.exit(0)
began = time.monotonic()
os.waitpid(child, 0)
print("at once:", time.monotonic() - began < 4)
"""


def test_the_child_of_a_fork_waits_for_no_thread_of_its_parent(built: pathlib.Path) -> None:
    refusal = "tokio was started before a fork, and its threads are not in this process"
    # From 3.12 on Python warns of forks with threads around, which is what this is about.
    quiet = ["-W", "ignore::DeprecationWarning"]
    assert said(built, *quiet, "-c", FORK) == [refusal, "at once: True"]


LATE = """
import asyncio, atexit

def late():
    async def main():
        await rust_futures.delayed(1, 0.001)
    try:
        asyncio.run(main())
    except RuntimeError as error:
        print(error)

atexit.register(late)
import rust_futures
"""


def test_nothing_is_started_behind_the_end_of_tokio(built: pathlib.Path) -> None:
    assert said(built, "-c", LATE) == ["the interpreter is about to end, and tokio has ended already"]


def test_crates_of_the_example_have_the_versions_of_the_project() -> None:
    def versions(lock: pathlib.Path) -> set[tuple[str, str]]:
        return set(re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"\nsource', lock.read_text()))

    ours, theirs = versions(ROOT / "Cargo.lock"), versions(EXAMPLE / "Cargo.lock")
    shared = {name for name, _ in ours} & {name for name, _ in theirs}
    assert "pyo3" in shared and "tokio" in shared
    assert {pair for pair in theirs if pair[0] in shared} <= ours
