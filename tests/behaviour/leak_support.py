"""What the tests of leaks share: how often a life is repeated, whom the bounds are asked of, and memory in use."""

from __future__ import annotations

import contextlib
import resource
import sysconfig
import tracemalloc
from collections.abc import Callable, Iterator

REPETITIONS = 1000
# Of stock asyncio, which is not what is tested here but whether the tests are right.
ORACLE_REPETITIONS = 100

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

# What a loop of pyloop's reads into: objects of 256 KiB and a header, made when a read needs one, five of them at most
# (`py/read_buffer.rs`).
_READ_MEMORY = range(256 * 1024, 256 * 1024 + 100)
_READ_OBJECTS = 5


def is_stock(loop: object) -> bool:
    """Whether it is asyncio's own loop."""
    return type(loop).__module__.startswith("asyncio")


def is_exempt(loop: object) -> bool:
    """Whether asyncio's own loop is not held to the bound: on free-threaded builds it keeps some bytes itself."""
    return FREE_THREADED and is_stock(loop)


def repetitions(loop: object, most: int = REPETITIONS) -> int:
    """How often a life is repeated on the loop."""
    return min(most, ORACLE_REPETITIONS) if is_stock(loop) else most


def read_memory() -> list[int]:
    """Sizes of the objects for a loop's reads that were allocated while memory was traced and are in use yet."""
    return [trace.size for trace in tracemalloc.take_snapshot().traces if trace.size in _READ_MEMORY]


def resident() -> int:
    """Bytes of this process that are in memory. Linux only."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


@contextlib.contextmanager
def traced_memory() -> Iterator[Callable[[], int]]:
    """Traces what is allocated through Python; the value says how many bytes of that are in use yet.

    The loop's read memory, which is bounded, does not count: whether a read during the warm-up has needed it is
    a matter of when the peer's bytes arrived.
    """

    def kept() -> int:
        read = read_memory()
        assert len(read) <= _READ_OBJECTS, f"{len(read)} objects of the size that a loop reads into"
        return tracemalloc.get_traced_memory()[0] - sum(read)

    tracemalloc.start()
    try:
        yield kept
    finally:
        tracemalloc.stop()
