"""Timers that belong to someone: managers of named timers, intervals, scopes.

Everything here runs on any asyncio loop. On a `PyLoop` the loop's own timers serve it; for another loop pyloop's
driver, one background thread for the whole process, waits for the deadlines and the loop runs the callbacks.
"""

from ._errors import InvalidRegistration, ManagerClosed, NotAttached, TimerError, TimerExists, TimerNotFound
from ._interval import Interval, PeriodicHandle, Tick, call_every, interval
from ._manager import TimerManager
from ._messages import TimerExpired, TimerFired, TimerInfo, TimerRegistration
from ._schedule import MissedTick
from ._scope import TimerScope

__all__ = (
    "Interval",
    "InvalidRegistration",
    "ManagerClosed",
    "MissedTick",
    "NotAttached",
    "PeriodicHandle",
    "Tick",
    "TimerError",
    "TimerExists",
    "TimerExpired",
    "TimerFired",
    "TimerInfo",
    "TimerManager",
    "TimerNotFound",
    "TimerRegistration",
    "TimerScope",
    "call_every",
    "interval",
)
