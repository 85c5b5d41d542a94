"""When a periodic timer is due: arithmetic alone, on the clock of whoever asks."""

from __future__ import annotations

import datetime
import enum
import math
from typing import Final

from ._errors import InvalidRegistration

# A tick that is taken at most this late, in seconds, is on time, as with tokio and the Rust half: without it DELAY
# would drift by the few microseconds that every timer is late.
TOLERATED_LATENESS: Final = 0.005

# The clock's unit, in seconds: ticks that are less apart cannot be told from each other.
LEAST_INTERVAL: Final = 1e-9


class MissedTick(enum.Enum):
    """What follows a tick that was taken late, by more than 5 ms; as `tokio::time` defines it."""

    #: The missed ticks follow at once, one after the other, until the schedule is caught up with.
    BURST = "burst"
    #: The next tick comes a whole interval after the late one was taken; the schedule moves.
    DELAY = "delay"
    #: The missed ticks are left out; the next one comes where the schedule has its next tick.
    SKIP = "skip"


Seconds = float | int | datetime.timedelta


def to_seconds(value: Seconds, what: str, *, positive: bool) -> float:
    """Seconds as a float.

    Raises:
        InvalidRegistration: for NaN, for what is negative or beyond a float's range, and for less than a nanosecond if
            it has to be `positive`.
        TypeError: for what is no number and no timedelta.
    """
    if isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    if not hasattr(value, "__float__") and not hasattr(value, "__index__"):
        # `float()` would also read text and bytes.
        raise TypeError(f"{what} must be a number of seconds or a timedelta, not {value!r}")
    try:
        seconds = float(value)
    except (OverflowError, ValueError) as error:
        raise InvalidRegistration(f"{what} is no time in seconds: {error}") from error
    if math.isnan(seconds) or seconds < 0 or (positive and seconds == 0):
        raise InvalidRegistration(f"{what} must be {'positive' if positive else 'zero or positive'}, not {value!r}")
    if positive and seconds < LEAST_INTERVAL:
        raise InvalidRegistration(f"{what} must be at least a nanosecond, not {value!r}")
    return seconds


class Schedule:
    """The deadlines of a periodic timer, one after the other.

    Each is start + number * interval, computed anew, so that no error adds up.
    """

    __slots__ = ("_base", "_base_sequence", "interval", "missed", "next", "sequence")

    def __init__(self, start: float, interval: float, missed: MissedTick) -> None:
        self.interval = interval
        self.missed = missed
        # When the tick `_base_sequence` is due; moves if the schedule does.
        self._base = start
        self._base_sequence = 0
        # The number of the next tick, and when it is due.
        self.sequence = 0
        self.next = start

    def take(self, now: float) -> tuple[int, float] | None:
        """Takes the tick that is due, as its number and its deadline; None if none is due yet."""
        if now < self.next:
            return None
        tick = self.sequence, self.next
        late = now - self.next
        steps = 1
        if late > TOLERATED_LATENESS and self.missed is MissedTick.SKIP:
            steps += int(late // self.interval)
        self.sequence += steps
        if late > TOLERATED_LATENESS and self.missed is MissedTick.DELAY:
            self.move_to(now + self.interval)
        else:
            self.next = self._base + (self.sequence - self._base_sequence) * self.interval
            if steps > 1 and self.next <= now:
                # The division was rounded down to the tick before.
                self.sequence += 1
                self.next = self._base + (self.sequence - self._base_sequence) * self.interval
        return tick

    def move_to(self, deadline: float) -> None:
        """Has the next tick come at `deadline`, and the later ones from there."""
        self._base = self.next = deadline
        self._base_sequence = self.sequence
