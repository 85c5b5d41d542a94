"""What happens to the timers of a scope: their turns in the wheel, at the mailbox, with their locks."""

from __future__ import annotations

import asyncio
import collections
import functools
import inspect
import math
from typing import TYPE_CHECKING, Any

from . import _locks
from ._alarms import alarm_at
from ._errors import NotAttached, TimerNotFound
from ._mailbox import QueueMailbox, mailbox_of
from ._messages import TimerFired

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from ._messages import LockFactory
    from ._timer import Timer


# Seconds for which a timer whose task somebody else has cancelled does nothing: where all tasks are, the loop ends.
QUIET = 1.0


class Turns:
    """The timers of a scope, without what its owner sees."""

    def __init__(self, owner: Any, mailbox: Any) -> None:
        self._owner = owner
        self._mailbox = mailbox_of(mailbox)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timers: dict[str, Timer] = {}
        # Due timers for the iterator, in the order in which they became due, and who waits for them.
        self._ready: collections.OrderedDict[Timer, None] = collections.OrderedDict()
        self._receivers: collections.deque[asyncio.Future[bool]] = collections.deque()
        # Tasks that ask for locks or give them back, or run an owner's coroutine: referred to here alone.
        self._tasks: set[asyncio.Task[Any]] = set()

    def _attached(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise NotAttached(f"the timer scope of {self._owner!r} is not attached")
        return self._loop

    def _find(self, name: str) -> Timer:
        self._attached()
        try:
            return self._timers[name]
        except KeyError:
            raise TimerNotFound(f"there is no timer {name!r}") from None

    def _wake_receivers(self, *, detached: bool = False) -> None:
        while self._receivers:
            receiver = self._receivers.popleft()
            if not receiver.done() and not receiver.get_loop().is_closed():
                receiver.set_result(detached)

    def _call_off(self, timer: Timer) -> None:
        self._ready.pop(timer, None)
        timer.call_off()

    def _drop(self, timer: Timer) -> None:
        timer.dead = True
        self._call_off(timer)

    def _drop_all(self) -> None:
        timers, self._timers = self._timers, {}
        for timer in timers.values():
            self._drop(timer)

    def _align(self, timer: Timer, delay: float) -> None:
        """Moves a timer with a lock to the next tick that all machines have in common, and that can be reserved."""
        if timer.registration.lock is None or timer.once:
            return
        loop, interval = self._attached(), timer.schedule.interval
        timer.since = None
        if interval == math.inf or timer.schedule.next / interval == math.inf:
            timer.schedule.move_to(math.inf)
            return
        delay = max(delay, interval * _locks.LEAD)
        timer.number, wait = _locks.next_tick(_locks.wall_clock(loop), interval, timer.asked, delay)
        timer.schedule.move_to(loop.time() + wait)

    def _arm(self, timer: Timer) -> None:
        """Waits for a timer's next turn, unless there is none, and asks for its lock."""
        loop, factory = self._loop, timer.registration.lock
        due, interval = timer.schedule.next, timer.schedule.interval
        if loop is None or not timer.rests or due == math.inf:
            return
        asks = factory is not None and not timer.once and timer.asked != timer.number and timer.undelivered is None
        if asks and due - loop.time() > 2 * interval:
            # Too early: a lock that ends by itself would have ended before its tick.
            timer.alarm = alarm_at(loop, due - interval, lambda: self._near(timer))
            return
        # The next turn begins after the mailbox's coroutine, but its lock is asked for in time.
        if not timer.busy:
            timer.alarm = alarm_at(loop, due, lambda: self._due(timer))
        if asks and factory is not None:
            self._begin(timer, self._reserve(timer, factory))

    def _near(self, timer: Timer) -> None:
        timer.alarm = None
        self._arm(timer)

    def _message(self, timer: Timer) -> TimerFired:
        """What a due timer has to say now."""
        now, registration, schedule = self._attached().time(), timer.registration, timer.schedule
        due = schedule.next if timer.since is None else timer.since
        return TimerFired(self._owner, registration.name, due, now, schedule.sequence, registration.callback_data)

    def _move_on(self, timer: Timer) -> None:
        """The present turn of a due timer is over; one that fires once leaves the scope."""
        timer.schedule.take(self._attached().time())
        timer.since = None
        timer.asked = timer.number
        if timer.once:
            timer.dead = True
            self._timers.pop(timer.registration.name, None)
        else:
            self._align(timer, 0.0)

    def _take(self, timer: Timer) -> TimerFired:
        fired = self._message(timer)
        self._move_on(timer)
        return fired

    def _due(self, timer: Timer) -> None:
        timer.alarm = None
        loop = self._loop
        if timer.dead or timer.remaining is not None or loop is None:
            return
        if loop.time() < timer.schedule.next:
            self._arm(timer)  # The loop's clock is coarser than what it waits with.
        elif timer.registration.lock is not None:
            self._due_with_lock(timer, timer.registration.lock)
        else:
            self._hand_over(timer)

    def _hand_over(self, timer: Timer) -> None:
        mailbox = self._mailbox
        if mailbox is None:
            self._ready[timer] = None
            self._wake_receivers()
        elif mailbox.has_room():
            self._deliver(timer)
        elif isinstance(mailbox, QueueMailbox) and mailbox.is_bounded():
            self._begin(timer, self._put(timer, mailbox))
        else:
            # Nobody reads, and nobody will tell when somebody does. The tick is late; what follows is the policy's.
            self._look_again(timer, 1.0 if timer.once else timer.schedule.interval)

    def _look_again(self, timer: Timer, pause: float) -> None:
        loop = self._loop
        if loop is not None and timer.rests and not timer.busy:
            timer.alarm = alarm_at(loop, loop.time() + pause, lambda: self._due(timer))

    def _begin(self, timer: Timer, work: Coroutine[Any, Any, None]) -> None:
        try:
            task = self._run(self._attached(), timer, work)
        except BaseException:
            # The task factory has refused, or a task that began eagerly was interrupted.
            work.close()
            timer.undelivered = None
            self._look_again(timer, QUIET)
            raise
        # A task that began eagerly has entered itself, and may have been called off or be through.
        if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
            timer.undelivered = task
        task.add_done_callback(functools.partial(self._over, timer))

    def _over(self, timer: Timer, task: asyncio.Task[Any]) -> None:
        """Has a timer go on whose task has not said how: somebody else has cancelled it, or it was interrupted."""
        if timer.undelivered is task:
            timer.undelivered = None
            self._look_again(timer, QUIET)

    def _run(self, loop: asyncio.AbstractEventLoop, timer: Timer, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        # The timer's own context may be entered at this moment, by the mailbox.
        return _kept_in(self._tasks, timer.context.copy().run(loop.create_task, work))

    def _deliver(self, timer: Timer) -> None:
        """Hands a due timer over to the mailbox, and waits for its next turn."""
        loop, mailbox = self._attached(), self._mailbox
        assert mailbox is not None
        fired = self._take(timer)
        rest = None
        try:
            rest = timer.context.run(mailbox.deliver, fired)
        except (SystemExit, KeyboardInterrupt):
            raise  # It leaves the run of the loop, which may be run again.
        except BaseException as error:  # noqa: BLE001 - reported; the timers go on
            self._report(loop, timer, "Exception in the mailbox of a timer scope", error)
        finally:
            if rest is None:
                self._arm(timer)
        if rest is None:
            return

        timer.busy = True
        work = rest if asyncio.iscoroutine(rest) else _awaited(rest)
        try:
            task = self._run(loop, timer, work)
            task.add_done_callback(functools.partial(self._finished, loop, timer))
        except BaseException:  # As in `_begin`.
            work.close()
            timer.busy = False
            raise
        finally:
            self._arm(timer)

    def _finished(self, loop: asyncio.AbstractEventLoop, timer: Timer, task: asyncio.Task[Any]) -> None:
        """The mailbox's coroutine is over. It is the owner's: pausing and unregistering leave it alone."""
        timer.busy = False
        if task.cancelled() and is_cancelled(task):
            self._look_again(timer, QUIET)
        else:
            self._arm(timer)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, (SystemExit, KeyboardInterrupt)):
            self._report(loop, timer, "Exception in the mailbox of a timer scope", error)

    async def _put(self, timer: Timer, mailbox: QueueMailbox) -> None:
        """Waits for room in a queue. The tick is over, and late, when there was."""
        task = timer.undelivered = asyncio.current_task()
        loop, fired = self._attached(), self._message(timer)
        try:
            await mailbox.put(fired)
        except asyncio.CancelledError as error:
            if is_cancelled(task):
                raise
            self._report(loop, timer, "Exception in the mailbox of a timer scope", error)
        except Exception as error:  # noqa: BLE001 - reported; the timers go on
            self._report(loop, timer, "Exception in the mailbox of a timer scope", error)
        else:
            # It went in at the end of the wait, and nobody else has run since.
            object.__setattr__(fired, "fired_at", loop.time())
        if timer.undelivered is task:
            timer.undelivered = None
            self._move_on(timer)
            self._arm(timer)

    # With a lock. A periodic timer asks for the lock of a tick about one interval ahead, and must have it half an
    # interval ahead: a lock that ends with its holder could otherwise be had again by a machine that comes late, after
    # the holder has run the tick and died.

    def _due_with_lock(self, timer: Timer, factory: LockFactory) -> None:
        if not timer.once:
            reserved = timer.reserved is not None and timer.reserved == timer.number
            timer.call_off()
            self._settle(timer, reserved)
        elif timer.kept is not None and timer.kept.is_held():
            self._settle(timer, ours=True)  # It was had before, and the owner did not take the firing.
        else:
            self._begin(timer, self._run_once(timer, factory))

    def _settle(self, timer: Timer, ours: bool) -> None:
        """Hands a tick over, or leaves it out: another machine has it, or the owner does not read."""
        mailbox = self._mailbox
        if ours and (timer.once or mailbox is None or mailbox.has_room()):
            self._hand_over(timer)
        else:
            self._move_on(timer)
            self._arm(timer)

    async def _reserve(self, timer: Timer, factory: LockFactory) -> None:
        task = timer.undelivered = asyncio.current_task()
        loop, interval, due = self._attached(), timer.schedule.interval, timer.schedule.next
        timer.asked = timer.number
        latest = due - interval / 2
        patience = min(_locks.MOST_PATIENCE, latest - loop.time())
        # Too late to ask already: that is not the lock's fault.
        lock = await self._try_lock(loop, timer, factory, patience) if patience > 0 else None
        if lock is not None:
            self._keep_lock(loop, timer, lock, due + interval)
        if timer.undelivered is task:
            timer.undelivered = None
            if lock is not None and loop.time() <= latest:
                timer.reserved = timer.number

    async def _run_once(self, timer: Timer, factory: LockFactory) -> None:
        task = timer.undelivered = asyncio.current_task()
        loop = self._attached()
        lock = await self._try_lock(loop, timer, factory, _locks.MOST_PATIENCE)
        if lock is not None:
            self._keep_lock(loop, timer, lock, loop.time() + _locks.KEPT_ONCE)
        if timer.undelivered is task:
            timer.undelivered = None
            self._settle(timer, lock is not None)

    def _keep_lock(self, loop: asyncio.AbstractEventLoop, timer: Timer, lock: Any, until: float) -> None:
        # By a timer and not by a task that sleeps: a program that ends before leaves it to the lock's own time-out.
        # The scope may be gone by then.
        timer.kept = _locks.Kept(lock)
        loop.call_at(until, _give_back, loop, timer.kept, self._tasks)

    async def _try_lock(
        self, loop: asyncio.AbstractEventLoop, timer: Timer, factory: LockFactory, patience: float
    ) -> Any:
        """The lock of the next tick; None if another machine has it, or if it fails."""
        name = timer.registration.name
        key = name if timer.number is None else f"{name}/{timer.number}"
        try:
            lock = factory(key)
            if not timer.once and not timer.warned and _locks.ends_early(lock, timer.schedule.interval):
                timer.warned = True
                _locks.logger.warning("%r ends within an interval of timer %r: a tick may run twice", lock, name)
            if timer.kept is not None and timer.kept.is_same(lock):
                # One lock for all ticks, and the last one is over, or was called off before it ran.
                await asyncio.shield(_give_back(loop, timer.kept, self._tasks))
            if await _locks.acquire(lock, patience):
                return lock
        except asyncio.CancelledError as error:
            if is_cancelled(asyncio.current_task()):
                raise
            self._report(loop, timer, "The lock of a timer failed", error)
        except Exception as error:  # noqa: BLE001 - the tick is left out, the timers go on
            self._report(loop, timer, "The lock of a timer failed", error)
        return None

    def _report(self, loop: asyncio.AbstractEventLoop, timer: Timer, message: str, error: BaseException) -> None:
        loop.call_exception_handler(
            {"message": message, "exception": error, "timer": timer.registration.name, "scope": self}
        )


def _kept_in(tasks: set[asyncio.Task[Any]], task: asyncio.Task[Any]) -> asyncio.Task[Any]:
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


def _give_back(loop: asyncio.AbstractEventLoop, kept: _locks.Kept, tasks: set[asyncio.Task[Any]]) -> asyncio.Task[None]:
    return _kept_in(tasks, loop.create_task(kept.give_back()))


async def _awaited(rest: Awaitable[object]) -> None:
    await rest


def is_cancelled(task: Any) -> bool:
    """Whether a `CancelledError` is meant for the task; if not, what it awaits has raised one by itself.

    Before 3.11 tasks do not tell: it is believed.
    """
    return not hasattr(task, "cancelling") or task.cancelling() > 0
