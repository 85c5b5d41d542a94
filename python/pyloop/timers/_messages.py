"""What timers are made of, and what they send."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ._errors import InvalidRegistration
from ._schedule import MissedTick, Seconds, to_seconds

# Makes a lock for a key: what has `acquire()` and `release()`, or an asynchronous context manager.
LockFactory = Callable[[str], Any]


@dataclasses.dataclass(frozen=True)
class TimerExpired:
    """A timer of a `TimerManager` has expired."""

    #: The timer's name.
    name: str


@dataclasses.dataclass(frozen=True)
class TimerFired:
    """A timer of a `TimerScope` has fired; `match` works on it."""

    #: Whose timer it is.
    owner: Any
    #: The name it was registered under.
    timer_name: str
    #: When it was due, by `loop.time()`.
    scheduled_at: float
    #: When it was handed over, by `loop.time()`.
    fired_at: float
    #: The number of the firing, from zero. A gap tells how many were left out, of a timer without a lock.
    sequence: int
    #: What was registered with it.
    callback_data: Any = None


@dataclasses.dataclass(frozen=True)
class TimerRegistration:
    """A timer to be registered with a `TimerScope`.

    Raises:
        InvalidRegistration: for an empty name, a negative or NaN due time, an interval that is not positive.
        TypeError: for a policy or lock factory of another type.
    """

    #: Unique in the scope; not empty.
    name: str
    #: The time until the first firing: seconds or a timedelta. None is one interval, or at once without an interval.
    due_time: Seconds | None = None
    #: The time between two firings; None for a timer that fires once.
    interval: Seconds | None = None
    #: What becomes of firings that the owner was too slow for.
    missed: MissedTick = MissedTick.BURST
    #: Comes with each firing.
    callback_data: Any = None
    #: Makes an asynchronous lock for a tick's key; see `TimerScope`.
    lock: LockFactory | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InvalidRegistration(f"the name of a timer must be text and not empty, not {self.name!r}")
        if not isinstance(self.missed, MissedTick):
            raise TypeError(f"missed must be a MissedTick, not {self.missed!r}")
        if self.lock is not None and not callable(self.lock):
            raise TypeError(f"lock must be callable, not {self.lock!r}")
        if self.due_time is not None:
            to_seconds(self.due_time, "due_time", positive=False)
        if self.interval is not None:
            to_seconds(self.interval, "interval", positive=True)


@dataclasses.dataclass(frozen=True)
class TimerInfo:
    """A timer as `TimerScope.list_timers()` shows it."""

    #: The name it was registered under.
    name: str
    #: Seconds between two firings; None for a timer that fires once.
    interval: float | None
    #: The number of the next firing.
    sequence: int
    #: Seconds until the next firing; zero if it is being handed over. Stands still while the timer is paused.
    remaining: float
    #: Whether the timer is paused.
    paused: bool
