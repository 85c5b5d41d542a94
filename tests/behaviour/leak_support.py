"""What the tests of leaks share: how often a life is repeated, whom the bounds are asked of, and memory in use."""

from __future__ import annotations

import contextlib
import resource
import sysconfig
import tracemalloc
from collections.abc import Callable, Iterator

# In each of two series.
REPETITIONS = 500
# Of stock asyncio, which is not what is tested here but whether the tests are right.
ORACLE_REPETITIONS = 50
# Bytes that may stay of a series whatever its length.
FLOOR = 20_000

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
    """How often a life is repeated on the loop, in each of two series (`Growth`)."""
    return min(most, ORACLE_REPETITIONS) if is_stock(loop) else most


def allowed(lives: int, share: int) -> int:
    """Bytes that so many lives may leave in use, as a share of each."""
    return max(lives * share, FLOOR)


def read_memory() -> list[int]:
    """Sizes of the objects for a loop's reads that were allocated while memory was traced and are in use yet."""
    return [trace.size for trace in tracemalloc.take_snapshot().traces if trace.size in _READ_MEMORY]


def resident() -> int:
    """Bytes of this process that are in memory. Linux only."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


class Growth:
    """How much some quantity grows in each of two equal series of the same work.

    A leak grows in both. A cache that fills up grows in the first, and the interpreter's table of interned strings,
    which is allocated anew when it is full (2 MB in a run of all tests), in either but never in both.
    """

    def __init__(self, quantity: Callable[[], int]) -> None:
        self._quantity = quantity
        self._grown: list[int] = []

    def series(self) -> Iterator[None]:
        """To loop over: the body is the work."""
        for _ in range(2):
            before = self._quantity()
            yield
            self._grown.append(self._quantity() - before)

    def least(self) -> int:
        """The growth in the series with less of it."""
        first, second = self._grown
        return min(first, second)


@contextlib.contextmanager
def traced_memory() -> Iterator[Growth]:
    """Traces what is allocated through Python: the growth of the bytes of that which are in use.

    The loop's read memory, which is bounded, does not count: whether a read during the warm-up has needed it is
    a matter of when the peer's bytes arrived.
    """

    def kept() -> int:
        read = read_memory()
        assert len(read) <= _READ_OBJECTS, f"{len(read)} objects of the size that a loop reads into"
        return tracemalloc.get_traced_memory()[0] - sum(read)

    tracemalloc.start()
    try:
        yield Growth(kept)
    finally:
        tracemalloc.stop()
