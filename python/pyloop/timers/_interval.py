"""Periodic timers: `call_every()` and `interval()`."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import inspect
from typing import TYPE_CHECKING, Any

from ._alarms import Alarm, alarm_at, finish
from ._schedule import MissedTick, Schedule, Seconds, to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self


@dataclasses.dataclass(frozen=True)
class Tick:
    """One tick of a periodic timer."""

    #: The number of the tick, from zero. Ticks that were left out have numbers, too.
    sequence: int
    #: When the tick was due, by `loop.time()`: start + sequence * interval, unless the schedule was moved.
    scheduled: float
    #: When the tick was taken. Never before `scheduled`.
    actual: float

    @property
    def lateness(self) -> float:
        """How many seconds after its time the tick was taken."""
        return self.actual - self.scheduled


class PeriodicHandle:
    """A callback that was scheduled with `call_every()`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        schedule: Schedule,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context,
    ) -> None:
        self._loop = loop
        self._schedule = schedule
        self._callback: Callable[..., object] | None = callback
        self._args = args
        self._context: contextvars.Context | None = context
        self._alarm: Alarm | None = None
        self._arm()

    def cancel(self) -> None:
        """Cancels the callback and lets go of it: it does not run again. Only for the loop's thread."""
        self._callback = self._context = None
        self._args = ()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def cancelled(self) -> bool:
        """Returns whether the callback was cancelled."""
        return self._callback is None

    def when(self) -> float:
        """Returns when the next tick is due, by `loop.time()`."""
        return self._schedule.next

    @property
    def sequence(self) -> int:
        """The number of the next tick, from zero; within the callback, of the one after."""
        return self._schedule.sequence

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else f"next at {self._schedule.next}"
        return f"<{type(self).__name__} every {self._schedule.interval} s {state}>"

    def _arm(self) -> None:
        self._alarm = alarm_at(self._loop, self._schedule.next, self._run)

    def _run(self) -> None:
        callback, context = self._callback, self._context
        if callback is None or context is None:
            return  # Cancelled by a callback of the same batch.
        if self._schedule.take(self._loop.time()) is None:
            self._arm()
            return
        # Armed first: whatever the callback raises, the next tick comes, unless it cancels.
        self._arm()
        try:
            context.run(callback, *self._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - as the loop does with its callbacks
            self._loop.call_exception_handler(
                {"message": f"Exception in periodic callback {callback!r}", "exception": error, "handle": self}
            )


def call_every(
    interval: Seconds,
    callback: Callable[..., object],
    *args: Any,
    first: Seconds | None = None,
    missed: MissedTick = MissedTick.BURST,
    context: contextvars.Context | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
) -> PeriodicHandle:
    """Arranges for `callback(*args)` to run every `interval` seconds, without drift, on any loop.

    On a `PyLoop` it is a method, too: `loop.call_every(...)`. What a callback raises goes to the loop's exception
    handler, and the next tick comes all the same. Only for the loop's thread.

    Args:
        interval: Seconds, or a timedelta.
        callback: What to run.
        *args: What to run it with.
        first: Seconds until the first run; one interval by default.
        missed: What follows a run that was late.
        context: Runs the callback; by default a copy of the present one, the same for all runs.
        loop: By default the running loop.

    Raises:
        InvalidRegistration: for an interval below a nanosecond, a first time that is negative, or NaN.
        RuntimeError: without a loop, or if it is closed; in debug mode, for another thread than the loop's.
        TypeError: for arguments of other types; in debug mode, for a coroutine function.
    """
    seconds = to_seconds(interval, "interval", positive=True)
    delay = seconds if first is None else to_seconds(first, "first", positive=False)
    if not callable(callback):
        raise TypeError(f"a callable object was expected by call_every(), got {callback!r}")
    if not isinstance(missed, MissedTick):
        raise TypeError(f"missed must be a MissedTick, not {missed!r}")
    if context is not None and not isinstance(context, contextvars.Context):
        raise TypeError(f"context must be a contextvars.Context or None, not {type(context).__name__}")
    if loop is None:
        loop = asyncio.get_running_loop()
    if loop.get_debug():
        _check_call(loop, callback)
    schedule = Schedule(loop.time() + delay, seconds, missed)
    return PeriodicHandle(loop, schedule, callback, args, contextvars.copy_context() if context is None else context)


def _check_call(loop: asyncio.AbstractEventLoop, callback: Callable[..., object]) -> None:
    """What `call_later()` checks in debug mode."""
    if asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
        raise TypeError("coroutines cannot be used with call_every()")
    if loop.is_running() and asyncio._get_running_loop() is not loop:
        raise RuntimeError("Non-thread-safe operation invoked on an event loop other than the current one")


class Interval:
    """Ticks at start, start + interval, start + 2 * interval, ... without drift; made by `interval()`."""

    def __init__(self, interval: Seconds, *, first: Seconds = 0.0, missed: MissedTick = MissedTick.BURST) -> None:
        self._interval = to_seconds(interval, "interval", positive=True)
        self._first = to_seconds(first, "first", positive=False)
        if not isinstance(missed, MissedTick):
            raise TypeError(f"missed must be a MissedTick, not {missed!r}")
        self._missed = missed
        # From the first tick or reset on: only then is there a loop, and with it a clock.
        self._schedule: Schedule | None = None
        # What calls of `tick()` wait for.
        self._waiting: set[asyncio.Future[None]] = set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Tick:
        return await self.tick()

    async def tick(self) -> Tick:
        """Waits for the next tick. A call that is cancelled takes none."""
        loop = asyncio.get_running_loop()
        if self._schedule is None:
            self._schedule = Schedule(loop.time() + self._first, self._interval, self._missed)
        schedule = self._schedule
        if loop.time() >= schedule.next:
            # Missed ticks that follow at once must not keep others from running.
            await asyncio.sleep(0)
        while (taken := schedule.take(now := loop.time())) is None:
            arrived = loop.create_future()
            alarm = alarm_at(loop, schedule.next, functools.partial(finish, arrived))
            self._waiting.add(arrived)
            try:
                await arrived
            finally:
                self._waiting.discard(arrived)
                alarm.cancel()
        sequence, scheduled = taken
        return Tick(sequence, scheduled, now)

    def reset(self) -> None:
        """Has the next tick come one interval from now, and the later ones from there.

        Raises:
            RuntimeError: without a running loop.
        """
        deadline = asyncio.get_running_loop().time() + self._interval
        if self._schedule is None:
            self._schedule = Schedule(deadline, self._interval, self._missed)
            return
        self._schedule.move_to(deadline)
        # Who waits for a later time is to look again, unless its loop is closed.
        for arrived in self._waiting:
            if not arrived.get_loop().is_closed():
                finish(arrived)


def interval(interval: Seconds, *, first: Seconds = 0.0, missed: MissedTick = MissedTick.BURST) -> Interval:
    """Ticks every `interval` seconds, the first one `first` seconds after the loop over them begins.

        async for tick in pyloop.interval(0.5):
            print(tick.sequence, tick.lateness)

    An interval that nobody waits for costs nothing. On any loop.

    Raises:
        InvalidRegistration: for an interval below a nanosecond, a first time that is negative, or NaN.
    """
    return Interval(interval, first=first, missed=missed)
