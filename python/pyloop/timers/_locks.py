"""Ticks that several machines share: which one runs a tick.

All machines count ticks from the epoch of the wall clock, so that a tick has the same number everywhere. They ask for
the lock of a tick well before it is due, and whoever gets it keeps it until the tick after is due. A machine whose
clock is less than half an interval off so finds the lock taken, or comes too late to use it.

Where one lock serves all ticks, it is given back as soon as its tick is due, before it is asked for again: by then even
a clock that is half an interval slow has it too late for that tick.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
from typing import Any

from pyloop._pyloop import LoopCore

logger = logging.getLogger("pyloop.timers")

# The longest time, in seconds, that a lock may take to answer; shorter for intervals of less than twice that.
MOST_PATIENCE = 5.0
# How far ahead of a tick, as a part of the interval, asking for its lock begins at the latest. Half an interval ahead
# it must be there.
LEAD = 0.75
# How long the lock of a timer that fires once is kept, in seconds: longer than clocks of machines are apart.
KEPT_ONCE = 60.0


def wall_clock(loop: asyncio.AbstractEventLoop) -> float:
    """What ticks are counted from, in seconds; a virtual clock is all the time that there is."""
    return loop.time() if isinstance(loop, LoopCore) and loop.clock is not None else time.time()


def next_tick(wall: float, interval: float, after: int | None, delay: float) -> tuple[int, float]:
    """The number of the next common tick, and the seconds until then.

    Args:
        wall: What `wall_clock()` says.
        interval: Seconds between two ticks.
        after: The number of the last tick; it does not come again, whatever the wall clock says.
        delay: Seconds that have to pass before.
    """
    wall += delay
    number = math.floor(wall / interval) + 1
    if after is not None:
        number = max(number, after + 1)
    return number, number * interval - wall + delay


def ends_early(lock: Any, interval: float) -> bool:
    """Whether a lock says, as redis-py's does, that it ends before a machine that asks late has found it taken."""
    timeout = getattr(lock, "timeout", None)
    return isinstance(timeout, (int, float)) and timeout < interval


async def acquire(lock: Any, patience: float) -> bool:
    """Tries to get a lock; False if another has it.

    Understands `acquire(blocking=False)`, as redis-py has it, whose answer counts as it would in an `if`; `acquire()`
    alone, which may also answer None when it has the lock; each also where it answers at once and not by a coroutine;
    and asynchronous context managers, whose `__aenter__` returns False for a lock that another has. Where trying cannot
    be told from waiting, waiting too long means that another has it.

    Raises:
        TimeoutError: if a lock that was asked not to wait does not answer.
        TypeError: for what is no lock.
    """
    entering = getattr(lock, "acquire", None)
    if entering is None and not hasattr(type(lock), "__aenter__"):
        raise TypeError(f"a lock has acquire() and release(), or is an asynchronous context manager, not {lock!r}")
    if entering is not None and "blocking" in _parameters(entering):
        return bool(await _answer(entering(blocking=False), patience))
    attempt = type(lock).__aenter__(lock) if entering is None else entering()
    try:
        answer = await _answer(attempt, patience)
        return answer is not False if entering is None else answer is None or bool(answer)
    except asyncio.TimeoutError:
        logger.info("%r was not to be had within %s s", lock, patience)
        return False


async def _answer(attempt: Any, patience: float) -> Any:
    return await asyncio.wait_for(attempt, patience) if inspect.isawaitable(attempt) else attempt


class Kept:
    """A lock that was had, to be given back once."""

    def __init__(self, lock: Any) -> None:
        self._lock: Any = lock

    def is_held(self) -> bool:
        """Whether it is not given back yet."""
        return self._lock is not None

    def is_same(self, lock: Any) -> bool:
        """Whether a lock is this one, which is not given back yet: the object itself, or one of its name."""
        kept = self._lock
        if kept is None or lock is kept:
            return kept is not None
        name = getattr(lock, "name", None)
        return name is not None and name == getattr(kept, "name", None)

    async def give_back(self) -> None:
        """Gives it back. Does nothing if that was begun before."""
        lock, self._lock = self._lock, None
        if lock is not None:
            await release(lock)


async def release(lock: Any) -> None:
    """Gives a lock back."""
    leaving = getattr(lock, "release", None)
    try:
        await _answer(type(lock).__aexit__(lock, None, None, None) if leaving is None else leaving(), MOST_PATIENCE)
    except asyncio.TimeoutError:
        logger.warning("%r was not released within %s s", lock, MOST_PATIENCE)
    except Exception:  # It has expired, or its connection is gone: both have given it back
        logger.debug("%r could not be released", lock, exc_info=True)


def _parameters(function: Any) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # Some functions written in C do not tell.
        return ()
