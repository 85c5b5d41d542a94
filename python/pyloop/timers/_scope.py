"""`TimerScope`: timers that belong to one owner and end with it."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import math
from typing import TYPE_CHECKING, Any

from . import _locks
from ._alarms import Alarm, alarm_at
from ._errors import NotAttached, TimerExists, TimerNotFound
from ._mailbox import QueueMailbox, mailbox_of
from ._messages import TimerFired, TimerInfo, TimerRegistration
from ._schedule import MissedTick, Schedule, Seconds, to_seconds

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

    from typing_extensions import Self

    from ._messages import LockFactory


class _Timer:
    """A registered timer. Unregistered, it is `dead`: nothing of it is handed over any more."""

    __slots__ = (
        "alarm",
        "context",
        "dead",
        "number",
        "registration",
        "remaining",
        "schedule",
        "undelivered",
        "waiting",
    )

    def __init__(self, registration: TimerRegistration, schedule: Schedule, context: contextvars.Context) -> None:
        self.registration = registration
        self.schedule = schedule
        self.context = context
        self.alarm: Alarm | None = None
        self.dead = False
        # Seconds until the next firing, of a paused timer; None of one that is not paused.
        self.remaining: float | None = None
        # In the scope's ready queue.
        self.waiting = False
        # What waits for a lock or for room in a queue, and can still be called off.
        self.undelivered: asyncio.Task[None] | None = None
        # Of a timer with a lock: the number of the next common tick.
        self.number: int | None = None

    @property
    def once(self) -> bool:
        return self.registration.interval is None

    def call_off(self) -> None:
        """Forgets the turn that has begun."""
        self.waiting = False
        if self.alarm is not None:
            self.alarm.cancel()
            self.alarm = None
        if self.undelivered is not None:
            self.undelivered.cancel()
            self.undelivered = None


class TimerScope:
    """The timers of one actor, connection or session.

        async with TimerScope(session) as timers:
            timers.register_periodic("ping", 20.0)
            async for fired in timers:
                ...

    A new scope is detached. `attach()` or `async with` lets it take timers; `detach()`, or leaving the block in
    whatever way, cancels them all, and it can be attached again. Names are unique in a scope. Runs on any loop, in the
    loop's thread.

    A firing is a `TimerFired`. A slow owner gets what each timer's `MissedTick` says: one message of a timer waits at
    most before the owner takes it from the iterator or its coroutine returns; a queue that is full, or has 1024
    messages, gets no more.

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
        self._owner = owner
        self._mailbox = mailbox_of(mailbox)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timers: dict[str, _Timer] = {}
        # Due timers for the iterator, and who waits for them.
        self._ready: collections.deque[_Timer] = collections.deque()
        self._receivers: collections.deque[asyncio.Future[None]] = collections.deque()
        # Tasks that hold a lock until its tick is over, or run an owner's coroutine: referred to here alone.
        self._tasks: set[asyncio.Task[None]] = set()

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

        Raises:
            RuntimeError: without a running loop.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()

    def detach(self) -> None:
        """Cancels all timers and takes no more. Does nothing if the scope is detached."""
        if self._loop is None:
            return
        self._drop_all()
        self._loop = None
        self._wake_receivers()

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
            NotAttached: if the scope is not attached.
            TimerExists: if the name is in use.
        """
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
        timer = _Timer(registration, schedule, contextvars.copy_context())
        self._align(timer, due)
        self._timers[registration.name] = timer
        self._arm(timer)

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
        """Stops a timer's time, or that of all, with what remains of it kept. What waits to be handed over waits on.

        Raises:
            NotAttached: if the scope is not attached.
            TimerNotFound: if there is none of this name.
        """
        now = self._attached().time()
        for timer in self._timers.values() if name is None else (self._find(name),):
            if timer.remaining is None:
                timer.remaining = max(0.0, timer.schedule.next - now)
                self._call_off(timer)

    def resume(self, name: str | None = None) -> None:
        """Lets a paused timer's time go on, or that of all. A timer with a lock goes on with the next common tick.

        Raises:
            NotAttached: if the scope is not attached.
            TimerNotFound: if there is none of this name.
        """
        now = self._attached().time()
        for timer in self._timers.values() if name is None else (self._find(name),):
            if timer.remaining is not None:
                timer.schedule.move_to(now + timer.remaining)
                timer.remaining = None
                self._align(timer, 0.0)
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
        """Waits for the next firing; None if the scope is, or gets, detached.

        A call that is cancelled has taken nothing.

        Raises:
            RuntimeError: if the scope has a mailbox.
        """
        if self._mailbox is not None:
            raise RuntimeError("the firings of this scope go to its mailbox")
        while (loop := self._loop) is not None:
            if self._ready:
                timer = self._ready.popleft()
                timer.waiting = False
                fired = self._take(timer)
                self._arm(timer)
                return fired
            receiver = loop.create_future()
            self._receivers.append(receiver)
            try:
                await receiver
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

    # Inside.

    def _attached(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise NotAttached(f"the timer scope of {self._owner!r} is not attached")
        return self._loop

    def _find(self, name: str) -> _Timer:
        self._attached()
        try:
            return self._timers[name]
        except KeyError:
            raise TimerNotFound(f"there is no timer {name!r}") from None

    def _wake_receivers(self) -> None:
        while self._receivers:
            receiver = self._receivers.popleft()
            if not receiver.done():
                receiver.set_result(None)

    def _call_off(self, timer: _Timer) -> None:
        if timer.waiting:
            self._ready.remove(timer)
        timer.call_off()

    def _drop(self, timer: _Timer) -> None:
        timer.dead = True
        self._call_off(timer)

    def _drop_all(self) -> None:
        timers, self._timers = self._timers, {}
        for timer in timers.values():
            self._drop(timer)

    def _align(self, timer: _Timer, delay: float) -> None:
        """Moves a timer with a lock to the next tick that all machines have in common."""
        if timer.registration.lock is None or timer.once:
            return
        timer.number, wait = _locks.next_tick(timer.schedule.interval, timer.number, delay)
        timer.schedule.move_to(self._attached().time() + wait)

    def _arm(self, timer: _Timer) -> None:
        """Waits for a timer's next turn, unless there is none."""
        if timer.dead or timer.remaining is not None or timer.alarm is not None or self._loop is None:
            return
        if timer.schedule.next == math.inf:
            return  # It was its only one.
        timer.alarm = alarm_at(self._loop, timer.schedule.next, lambda: self._due(timer))

    def _message(self, timer: _Timer) -> TimerFired:
        """What a due timer has to say now."""
        now, registration, schedule = self._attached().time(), timer.registration, timer.schedule
        return TimerFired(
            self._owner, registration.name, schedule.next, now, schedule.sequence, registration.callback_data
        )

    def _move_on(self, timer: _Timer) -> None:
        """The present turn of a due timer is over; one that fires once leaves the scope."""
        timer.schedule.take(self._attached().time())
        if timer.once:
            timer.dead = True
            self._timers.pop(timer.registration.name, None)
        else:
            self._align(timer, 0.0)

    def _take(self, timer: _Timer) -> TimerFired:
        fired = self._message(timer)
        self._move_on(timer)
        return fired

    def _due(self, timer: _Timer) -> None:
        timer.alarm = None
        loop = self._loop
        if timer.dead or timer.remaining is not None or loop is None:
            return
        mailbox = self._mailbox
        if loop.time() < timer.schedule.next:
            self._arm(timer)  # The loop's clock is coarser than what it waits with.
        elif timer.registration.lock is not None:
            self._begin(timer, self._run_locked(timer, timer.registration.lock))
        elif mailbox is None:
            self._make_ready(timer)
        elif mailbox.has_room():
            self._deliver(timer)
        elif isinstance(mailbox, QueueMailbox) and mailbox.is_bounded():
            self._begin(timer, self._put(timer, mailbox))
        else:
            # Nobody reads, and nobody will tell when somebody does. The tick is late; what follows is the policy's.
            self._look_again(timer)

    def _make_ready(self, timer: _Timer) -> None:
        timer.waiting = True
        self._ready.append(timer)
        self._wake_receivers()

    def _look_again(self, timer: _Timer) -> None:
        loop = self._attached()
        pause = 1.0 if timer.once else timer.schedule.interval
        timer.alarm = alarm_at(loop, loop.time() + pause, lambda: self._due(timer))

    def _begin(self, timer: _Timer, work: Coroutine[Any, Any, None]) -> None:
        timer.undelivered = self._keep(timer.context.run(self._attached().create_task, work))

    def _keep(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _deliver(self, timer: _Timer) -> None:
        """Hands a due timer over to the mailbox, and waits for its next turn."""
        loop, mailbox = self._attached(), self._mailbox
        assert mailbox is not None
        fired = self._take(timer)
        try:
            rest = timer.context.run(mailbox.deliver, fired)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - reported; the timers go on
            self._report(loop, timer, "Exception in the mailbox of a timer scope", error)
            rest = None
        if rest is None:
            self._arm(timer)
            return

        async def finish() -> None:
            try:
                await rest
            except (SystemExit, KeyboardInterrupt):
                raise
            except Exception as error:  # noqa: BLE001 - as above
                self._report(loop, timer, "Exception in the mailbox of a timer scope", error)
            finally:
                # The coroutine is the owner's: pausing and unregistering leave it alone.
                self._arm(timer)

        self._keep(timer.context.run(loop.create_task, finish()))

    async def _put(self, timer: _Timer, mailbox: QueueMailbox) -> None:
        """Waits for room in a queue. The tick is over, and late, when there was."""
        await mailbox.put(self._message(timer))
        timer.undelivered = None
        self._move_on(timer)
        self._arm(timer)

    async def _run_locked(self, timer: _Timer, factory: LockFactory) -> None:
        loop, mailbox = self._attached(), self._mailbox
        over = timer.schedule.next + (_locks.KEPT_ONCE if timer.once else timer.schedule.interval)
        lock = await self._try_lock(loop, timer, factory)
        # From here on nothing is called off: the tick is handed over or left out.
        timer.undelivered = None
        if lock is not None:
            self._keep(loop.create_task(_locks.keep(lock, over - loop.time())))
        if lock is None or (mailbox is not None and not mailbox.has_room()):
            self._move_on(timer)
            self._arm(timer)
        elif mailbox is None:
            self._make_ready(timer)
        else:
            self._deliver(timer)

    async def _try_lock(self, loop: asyncio.AbstractEventLoop, timer: _Timer, factory: LockFactory) -> Any:
        """The lock of the present tick; None if another machine has it, or if it fails."""
        name = timer.registration.name
        key = name if timer.number is None else f"{name}/{timer.number}"
        patience = _locks.MOST_PATIENCE if timer.once else min(_locks.MOST_PATIENCE, timer.schedule.interval / 2)
        try:
            lock = factory(key)
            if await _locks.acquire(lock, patience):
                return lock
        except (SystemExit, KeyboardInterrupt):
            raise
        except Exception as error:  # noqa: BLE001 - the tick is left out, the timers go on
            self._report(loop, timer, "The lock of a timer failed", error)
        return None

    def _report(self, loop: asyncio.AbstractEventLoop, timer: _Timer, message: str, error: BaseException) -> None:
        loop.call_exception_handler(
            {"message": message, "exception": error, "timer": timer.registration.name, "scope": self}
        )
