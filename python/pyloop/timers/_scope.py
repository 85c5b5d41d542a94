"""`TimerScope`: timers that belong to one owner and end with it."""

from __future__ import annotations

import asyncio
import contextvars
import math
from typing import TYPE_CHECKING, Any

from ._errors import TimerExists
from ._messages import TimerFired, TimerInfo, TimerRegistration
from ._schedule import MissedTick, Schedule, Seconds, to_seconds
from ._timer import Timer
from ._turns import Turns

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from ._messages import LockFactory


class TimerScope(Turns):
    """The timers of one actor, connection or session.

        async with TimerScope(session) as timers:
            timers.register_periodic("ping", 20.0)
            async for fired in timers:
                ...

    A new scope is detached. `attach()` or `async with` lets it take timers; `detach()`, or leaving the block in
    whatever way, cancels them all, and it can be attached again. Names are unique in a scope. Runs on any loop, in the
    loop's thread.

    A firing is a `TimerFired`. A slow owner gets what each timer's `MissedTick` says: one message of a timer waits at
    most before the owner takes it from the iterator or its coroutine returns; a queue that is full, or has no bound and
    1024 messages, gets no more.

    With `lock=` several machines share a timer. The factory is called with a key, the timer's name and the number of
    the tick, which is the same on all machines whose clocks are less than an interval apart, and returns an
    asynchronous lock: redis-py's `Lock`, or anything with `acquire()` and `release()`, or an asynchronous context
    manager that enters with False if another has the lock. A tick is handed over on the machine that gets its lock and
    left out on the others: at most once, no catching up.

    Args:
        owner: Comes with each firing.
        mailbox: Where firings go: an `asyncio.Queue`, or a function that is called with each, in the context of the
            registration, and may make a coroutine. None: the scope's own iterator.

    Raises:
        TypeError: for a mailbox that is neither.
    """

    def __init__(self, owner: Any, mailbox: Any = None) -> None:
        super().__init__(owner, mailbox)

    @property
    def owner(self) -> Any:
        """Whose timers they are."""
        return self._owner

    @property
    def attached(self) -> bool:
        """Whether the scope takes timers."""
        return self._loop is not None

    def __repr__(self) -> str:
        state = f"{len(self._timers)} timers" if self.attached else "detached"
        return f"<{type(self).__name__} of {self._owner!r} {state}>"

    # Attaching.

    def attach(self) -> None:
        """Lets the scope take timers, in the running loop. Does nothing if it is attached.

        A scope that was left attached to a loop that is closed by now loses its timers first.

        Raises:
            RuntimeError: without a running loop.
        """
        if self._loop is not None and self._loop.is_closed():
            self.detach()
        if self._loop is None:
            self._loop = asyncio.get_running_loop()

    def detach(self) -> None:
        """Cancels all timers and takes no more. Does nothing if the scope is detached."""
        if self._loop is None:
            return
        self._drop_all()
        self._loop = None
        self._wake_receivers(detached=True)

    async def __aenter__(self) -> Self:
        self.attach()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.detach()

    # Registering.

    def register_one_shot(
        self, name: str, due_time: Seconds, callback_data: Any = None, *, lock: LockFactory | None = None
    ) -> None:
        """Registers a timer that fires once, after `due_time` (seconds or a timedelta).

        Raises what `register_timer()` raises.
        """
        # None would stand for now.
        to_seconds(due_time, "due_time", positive=False)
        self.register_timer(TimerRegistration(name, due_time, callback_data=callback_data, lock=lock))

    def register_periodic(
        self,
        name: str,
        interval: Seconds,
        callback_data: Any = None,
        *,
        due_time: Seconds | None = None,
        missed: MissedTick = MissedTick.BURST,
        lock: LockFactory | None = None,
    ) -> None:
        """Registers a timer that fires every `interval`, first after `due_time`, by default one interval.

        Raises what `register_timer()` raises.
        """
        # None would stand for a timer that fires once.
        to_seconds(interval, "interval", positive=True)
        self.register_timer(TimerRegistration(name, due_time, interval, missed, callback_data, lock))

    def register_timer(self, registration: TimerRegistration) -> None:
        """Registers a timer.

        Its name is in use until it is unregistered or, if it fires once, handed over.

        Raises:
            InvalidRegistration: for bad names and times.
            TypeError: for arguments of other types.
            NotAttached: if the scope is not attached.
            TimerExists: if the name is in use.
        """
        if not isinstance(registration, TimerRegistration):
            raise TypeError(f"a TimerRegistration was expected, not {registration!r}")
        loop = self._attached()
        if registration.name in self._timers:
            raise TimerExists(f"there is a timer {registration.name!r} already")
        interval = (
            math.inf if registration.interval is None else to_seconds(registration.interval, "interval", positive=True)
        )
        if registration.due_time is not None:
            due = to_seconds(registration.due_time, "due_time", positive=False)
        else:
            due = 0.0 if registration.interval is None or registration.lock is not None else interval
        schedule = Schedule(loop.time() + due, interval, registration.missed)
        timer = Timer(registration, schedule, contextvars.copy_context())
        self._align(timer, due)
        self._timers[registration.name] = timer
        try:
            self._arm(timer)
        except BaseException:
            self._timers.pop(registration.name, None)
            self._drop(timer)
            raise

    def unregister_timer(self, name: str) -> None:
        """Cancels a timer: nothing of it is handed over any more.

        Raises:
            NotAttached: if the scope is not attached.
            TimerNotFound: if there is none of this name.
        """
        timer = self._find(name)
        del self._timers[name]
        self._drop(timer)

    def cancel_all(self) -> None:
        """Cancels all timers; the scope stays attached.

        Raises:
            NotAttached: if the scope is not attached.
        """
        self._attached()
        self._drop_all()

    def pause(self, name: str | None = None) -> None:
        """Stops a timer's time, or that of all, with what remains of it kept.

        A firing that waits to be handed over waits until it is resumed.

        Raises:
            NotAttached: if the scope is not attached.
            TimerNotFound: if there is none of this name.
        """
        now = self._attached().time()
        for timer in self._timers.values() if name is None else (self._find(name),):
            if timer.remaining is None:
                timer.remaining = max(0.0, timer.schedule.next - now)
                if timer.remaining == 0.0 and timer.since is None:
                    timer.since = timer.schedule.next
                self._call_off(timer)

    def resume(self, name: str | None = None) -> None:
        """Lets a paused timer's time go on, or that of all.

        A firing that was due by the pause comes at once, with the `scheduled_at` that it had; of several, in the order
        in which they became due. Ticks that a periodic timer had missed beside it are gone, and have no numbers: its
        schedule goes on from now. A timer with a lock goes on with the next common tick that is three quarters of an
        interval away, and whose lock it has not had before.

        Raises:
            NotAttached: if the scope is not attached.
            TimerNotFound: if there is none of this name.
        """
        now = self._attached().time()
        timers = list(self._timers.values()) if name is None else [self._find(name)]
        for timer in sorted(timers, key=lambda timer: timer.since or 0.0):
            if timer.remaining is not None:
                remaining, timer.remaining = timer.remaining, None
                timer.schedule.move_to(now + remaining)
                self._align(timer, remaining - timer.schedule.interval)
                self._arm(timer)

    def list_timers(self) -> list[TimerInfo]:
        """Returns the timers, by name; none of a detached scope."""
        if self._loop is None:
            return []
        now = self._loop.time()
        return [
            TimerInfo(
                name,
                None if timer.once else timer.schedule.interval,
                timer.schedule.sequence,
                max(0.0, timer.schedule.next - now) if timer.remaining is None else timer.remaining,
                timer.remaining is not None,
            )
            for name, timer in sorted(self._timers.items())
        ]

    # Receiving.

    async def recv(self) -> TimerFired | None:
        """Waits for the next firing; None if the scope is, or gets, detached (also if it is attached again at once).

        A call that is cancelled has taken nothing.

        Raises:
            RuntimeError: if the scope has a mailbox.
        """
        if self._mailbox is not None:
            raise RuntimeError("the firings of this scope go to its mailbox")
        while (loop := self._loop) is not None:
            if self._ready:
                timer, _ = self._ready.popitem(last=False)
                fired = self._take(timer)
                self._arm(timer)
                return fired
            receiver = loop.create_future()
            self._receivers.append(receiver)
            try:
                if await receiver:
                    return None
            except BaseException:
                # It may have been this call that was told.
                if receiver.done() and not receiver.cancelled():
                    self._wake_receivers()
                raise
            finally:
                if receiver in self._receivers:
                    self._receivers.remove(receiver)
        return None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TimerFired:
        fired = await self.recv()
        if fired is None:
            raise StopAsyncIteration
        return fired
