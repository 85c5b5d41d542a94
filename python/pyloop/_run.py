"""Ways to run a program on pyloop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from . import _compat
from ._loop import PyLoop

if TYPE_CHECKING:
    from collections.abc import Coroutine

_T = TypeVar("_T")


def new_event_loop() -> PyLoop:
    """Makes a loop; pass this function wherever asyncio takes a `loop_factory`.

    Raises:
        OSError: if the system grants no descriptors for it.
    """
    return PyLoop()


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """Runs a coroutine on a new `PyLoop` and returns its result, as `asyncio.run()` does on asyncio's loop.

    Args:
        main: the coroutine.
        debug: turns debug mode on or off; None leaves it to the environment (`PYTHONASYNCIODEBUG`).

    Raises:
        RuntimeError: if a loop runs in this thread already.
        ValueError: if `main` is no coroutine (`TypeError` from Python 3.14 on).
    """
    result: _T = _compat.run(main, debug, new_event_loop)
    return result
