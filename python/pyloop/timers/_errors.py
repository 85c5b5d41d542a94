"""What can be wrong with a timer."""

from __future__ import annotations


class TimerError(Exception):
    """The base of the errors of `pyloop.timers`."""


class TimerExists(TimerError):
    """The scope has a timer of this name."""


class TimerNotFound(TimerError, LookupError):
    """The scope has no timer of this name."""


class NotAttached(TimerError, RuntimeError):
    """The scope is not attached."""


class InvalidRegistration(TimerError, ValueError):
    """A name is empty, an interval below a nanosecond, negative or NaN, or a due time negative or NaN."""


class ManagerClosed(TimerError, RuntimeError):
    """The timer manager has been shut down."""
